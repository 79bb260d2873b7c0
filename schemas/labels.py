"""Labels: what turned out to be true of a prediction, minutes or weeks later. Topic ``labels``, keyed by event id."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.common import TimeMs


class Label(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The truth about one prediction. A later label of the same event replaces an earlier one."""

    event_id: Annotated[str, Meta(min_length=1, description="The prediction's.")]
    ts_ms: Annotated[TimeMs, Meta(description="When the label became known.")]
    model: str
    label: Annotated[float | str | bool, Meta(description="1 or 0, true or false, a class, or a number.")]


LABEL: Final = "label"
"""The quantity that labels are counted as: a number, of which the mean is the positive rate where it is 0 or 1; or a
category, where labels are classes."""

_decoder: Final = msgspec.json.Decoder(Label)


def decode(raw: bytes) -> Label:
    """The label in a JSON message.

    Raises
    ------
    msgspec.DecodeError
        If the bytes are no JSON, or fields are missing or of a wrong type (then a ``ValidationError``).
    """
    return _decoder.decode(raw)
