"""Ground truth: what was injected, where, from when to when, and what should be said about it."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import msgspec

from schemas.findings import Kind, Severity


class Expectation(StrEnum):
    """What an alert about the injection would be."""

    MUST = "must"
    """Missing without it."""
    MAY = "may"
    """Neither missed nor false: an honest judge could go either way."""
    MUST_NOT = "must_not"
    """False: a near miss."""


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """One injection, placed in time.

    Attributes
    ----------
    name
        Unique in a scenario.
    scenario, seed
        What was played.
    injection
        What kind of fault or near miss it was, such as ``feature_drift_sudden``: by it scores are gathered.
    injected
        What was done, in words.
    entity
        The model, the feature set or the host it strikes: an alert about it carries the name in its label ``model``,
        ``feature_set`` or ``host``.
    target
        The feature, the segment or the GPU of the entity that is struck; empty where all of it is.
    onset_ms, end_ms
        Event times, ms since the epoch; the end is exclusive.
    magnitude
        In the unit of the injection.
    expectation
        Whether an alert must, may or must not follow.
    kinds
        An alert of one of these kinds counts as its detection.
    collateral
        Kinds that the injection explains but that do not count as its detection.
    severity
        What an on-call engineer should get for it.
    """

    name: str
    entity: str
    onset_ms: int
    end_ms: int
    kinds: tuple[Kind, ...] = ()
    collateral: tuple[Kind, ...] = ()
    severity: Severity = Severity.PAGE
    expectation: Expectation = Expectation.MUST
    magnitude: float = 0.0
    target: str = ""
    injection: str = ""
    injected: str = ""
    scenario: str = ""
    seed: int = 0


encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Truth)


def decode(raw: bytes) -> Truth:
    """Read one message of the truth topic, or one line of a truth file.

    Raises
    ------
    ValueError
        If it is not a truth; the message says where.
    """
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a ground truth: {error}") from error


def key(truth: Truth) -> str:
    """The key of its message: what is said later about the same injection replaces it."""
    return f"{truth.scenario}/{truth.name}"


def write(path: Path, truths: Iterable[Truth]) -> None:
    """Write a file of truths: JSON, one a line."""
    path.write_bytes(b"".join(encode(truth) + b"\n" for truth in truths))


def read(path: Path) -> list[Truth]:
    """Read a file of truths; empty lines are passed over.

    Raises
    ------
    ValueError
        If a line is not a truth; the message says which line, and what is wrong with it.
    """
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                found.append(decode(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return found
