"""Figures for whoever reads the output: shown with ``-s``, and whenever a test fails."""

import os
import random
import sys
from collections.abc import Callable

Recorder = Callable[[str, object], None]
"""pytest's ``record_property``: what it is given stands in the report."""


def tell(text: str) -> None:
    """Say it, on a line of its own."""
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


def drawn_seed() -> int:
    """A new seed in every run, or the one of ``FAULTS_SEED``; it is said, so that a failure can be played again."""
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10_000))
    tell(f"seed {seed}: FAULTS_SEED={seed} plays the same again")
    return seed


def seeded() -> random.Random:
    """Whatever a cell leaves to chance, out of :func:`drawn_seed`."""
    return random.Random(drawn_seed())
