"""The picture of an alert that the README shows: ``python -m streams.cli.picture > docs/images/alert.svg``."""

import io
import re
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

import schemas
from schemas import alerts
from streams.cli.render import render_alert

EXAMPLE: Final = Path(schemas.__file__).parent / "examples" / "alerts.v1.json"
_WIDTH: Final = 88
_FONT_FACE: Final = re.compile(r"@font-face\s*{[^}]*}\s*")


def picture(raw: bytes) -> str:
    """An alert as it looks in a terminal, as SVG that loads nothing from elsewhere."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(render_alert(alerts.decode(raw)))
    svg = console.export_svg(title="halcyon alerts tail", unique_id="alert")
    return _FONT_FACE.sub("", svg)


if __name__ == "__main__":
    sys.stdout.write(picture(EXAMPLE.read_bytes()))
