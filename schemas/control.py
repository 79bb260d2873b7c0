"""Control messages: what people and pipelines tell Halcyon. Topic ``control``, JSON."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.common import TimeMs


class ControlKind(StrEnum):
    """What a control message is about."""

    DEPLOYMENT = "deployment"
    SILENCE = "silence"
    BASELINE = "baseline"


class Matcher(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One condition on a label, as Alertmanager writes it."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deployment, a silence, or a change of baseline.

    ``matchers`` tell what it is about: all must hold; an object of labels and values is short for equality. A silence
    sent again with the same ``id`` replaces the earlier one.
    """

    kind: ControlKind
    id: str = ""
    matchers: list[Matcher] | dict[str, str] = msgspec.field(default_factory=list)
    starts_ms: Annotated[TimeMs, Meta(description="Null: from now on.")] | None = None
    ends_ms: Annotated[TimeMs, Meta(description="Null: for good.")] | None = None
    author: str = ""
    comment: str = ""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Control)


def encode(control: Control) -> bytes:
    """JSON for the ``control`` topic."""
    return _encoder.encode(control)


def decode(raw: bytes) -> Control:
    """The control message in ``raw``.

    Raises
    ------
    msgspec.DecodeError
        If the bytes are no JSON, or fields are missing or of a wrong type (then a ``ValidationError``).
    """
    return _decoder.decode(raw)
