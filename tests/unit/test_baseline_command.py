"""``halcyon baseline publish`` as it is typed."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from detectors.baseline import from_table, identified
from schemas.baselines import Baseline
from schemas.scopes import Family, Scope
from streams.baseline_files import save
from streams.cli import baseline as commands
from streams.cli.app import run
from streams.cli.context import out


def test_what_is_published_has_edges_of_its_own_and_was_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it comes to, nobody knows the baseline that its edges were named after; and none shall follow it."""
    published: list[Baseline] = []
    monkeypatch.setattr(commands, "_publish", lambda _, baseline: published.append(baseline))
    out.cache_clear()
    table = {"features.amount": np.random.default_rng(1).normal(size=300)}
    first = from_table(Scope(Family.PREDICTION, "m", "1"), table, built_from="test", effective_from_ms=0)
    learned = identified(replace(first, layout=first.id, learned_days=7))
    save(learned, tmp_path / "b")
    assert run(["baseline", "publish", str(tmp_path / "b"), "--effective", "2026-03-01T12:00:00Z"]) == 0
    (given,) = published
    assert (given.layout, given.learned_days, given.laid_out) == ("", -1, given.id)
    assert given.numeric == learned.numeric
    assert given.id == identified(given).id != learned.id
