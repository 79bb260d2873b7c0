"""Texts that others wrote, shown so that they are nothing but text.

Names come from events. In a terminal some characters move the cursor, change colours or the window's title, and turn
the direction of writing; in a log a line break begins a line that nobody has logged.
"""

import re
from typing import Final

# C0 and C1 controls, line and paragraph separators, and the marks that turn the direction of writing.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def harmless(text: str, keep: str = "") -> str:
    r"""The text with every character that is none written out, but for those of ``keep``.

    Examples
    --------
    >>> print(harmless("fraud\x1b[2J\nERROR made up"))
    fraud\x1b[2J\x0aERROR made up
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _written(found[0]), text)


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
