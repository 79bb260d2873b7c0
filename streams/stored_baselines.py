"""Baselines out of ClickHouse: the stored windows of a span of time, added up, every count exact."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from detectors import baseline as building
from detectors import moments
from detectors.baseline import LogQuantity
from detectors.days import HOURS, Before, DayCounts, rebuilt
from detectors.references import reference_sample
from detectors.seasonal.expectation import HOUR_MS
from schemas.baselines import CELLS, Baseline
from schemas.scopes import Scope
from streams.errors import ConfigError
from streams.sinks.clickhouse import ClickHouse

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MIXED: Final = "mixed"
_WHERE: Final = (
    "family = {family:String} AND model = {model:String} AND model_version = {model_version:String} "
    "AND segment = {segment:String} AND window_s = 3600 "
    "AND start >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') "
    "AND start < fromUnixTimestamp64Milli({until:Int64}, 'UTC')"
)
_VOLUME: Final = (
    "SELECT toUnixTimestamp64Milli(start), rows FROM volume "  # noqa: S608 - of constants alone, with parameters
    f"WHERE {_WHERE} ORDER BY start"
)
_NUMERIC: Final = (
    "SELECT quantity, toUnixTimestamp64Milli(start), layout, "  # noqa: S608 - likewise
    "bins, counts, count, mean, m2, min, max FROM windows "
    f"WHERE {_WHERE} AND count > 0 ORDER BY quantity, start"
)
_CATEGORIES: Final = (
    "SELECT quantity, counter, toUnixTimestamp64Milli(start), value, sum(count) "  # noqa: S608 - likewise
    "FROM categories "
    f"WHERE {_WHERE} GROUP BY quantity, counter, start, value ORDER BY quantity, counter, start, value"
)
_EDGES: Final = (
    "SELECT baseline_id, quantity, edges FROM baselines WHERE baseline_id IN {ids:Array(String)} AND notEmpty(edges)"
)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole hours of event time, ms since the epoch: ``since_ms`` belongs to it, ``until_ms`` does not."""

    since_ms: int
    until_ms: int

    def __post_init__(self) -> None:
        """Refuse what is no span of whole hours."""
        if self.since_ms % HOUR_MS or self.until_ms % HOUR_MS or self.since_ms >= self.until_ms:
            raise ConfigError(
                f"From {_utc(self.since_ms)} to {_utc(self.until_ms)} are no whole hours.", "--since, --until",
                "Give two full hours, the earlier one first: --since 2026-03-01T00:00Z --until 2026-03-08T00:00Z.",
            )  # fmt: skip

    @property
    def words(self) -> str:
        """For people."""
        return f"{_utc(self.since_ms)} to {_utc(self.until_ms)}"


@dataclass(slots=True)
class _Quantity:
    """The windows of one numeric quantity."""

    starts: list[int] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)
    bins: list[Ints] = field(default_factory=list)
    counts: list[Ints] = field(default_factory=list)
    stats: list[tuple[float, ...]] = field(default_factory=list)

    def moments(self) -> Floats:
        """float64[5] of all windows."""
        table = np.array(self.stats, np.float64)
        return np.asarray(moments.merge_groups(table, np.zeros(len(table), np.int64), 1)[0], np.float64)

    def log(self) -> LogQuantity:
        """The windows as one LogHistogram."""
        bins, place = np.unique(np.concatenate(self.bins), return_inverse=True)
        counts = np.zeros(len(bins), np.int64)
        np.add.at(counts, place, np.concatenate(self.counts))
        return bins, counts, self.moments()

    def by_hour(self) -> Ints:
        """int64[24, 34]: counts in a baseline's bins, by the hour of the day."""
        cells = np.zeros((HOURS, CELLS), np.int64)
        for start, bins, counts in zip(self.starts, self.bins, self.counts, strict=True):
            cells[_hour(start), bins] += counts
        return cells


def from_windows(
    client: ClickHouse, scope: Scope, span: Span, *, effective_from_ms: int, pane_ms: int, current: Baseline | None
) -> Baseline:
    """The baseline of a span of a scope's stored windows, in the bins in which they were counted.

    Windows in LogHistograms, of a scope without a baseline, give quantile edges of their own.

    Parameters
    ----------
    current
        The baseline in force, with its rows: rows are not stored, so they are taken over from it. Without one there are
        none, and what looks at rows or at pairs of quantities pauses.

    Raises
    ------
    ConfigError
        If there are no windows, or bins of some quantity cannot be added.
    HalcyonError
        If ClickHouse cannot be asked.
    """
    asked = {
        "family": scope.family.value, "model": scope.model, "model_version": scope.model_version,
        "segment": scope.segment, "since": span.since_ms, "until": span.until_ms,
    }  # fmt: skip
    volume = client.query(_VOLUME, asked).rows
    rows, hours = sum(int(row[1]) for row in volume), [int(row[0]) for row in volume if row[1]]
    if not rows:
        raise ConfigError(
            f"There are no windows of {scope.model} {scope.model_version} from {span.words}.".replace("  ", " "),
            f"ClickHouse at {client.where}", "Give another span, or see what there is: SELECT * FROM volume.",
        )  # fmt: skip
    quantities = _quantities(client, asked)
    named = {layout for quantity in quantities.values() for layout in quantity.layouts} - {"", _MIXED}
    edges = _edges(client, named)
    cut = {name: _cut_of(name, quantity, edges) for name, quantity in quantities.items()}
    before = Before(_layout(named, edges, cut), -1, {name: one for name, one in cut.items() if one}, {}, {}, {})
    texts = _texts(client, asked)
    taken = (max(hours) + HOUR_MS - min(hours)) // HOUR_MS
    counted = DayCounts(
        days=max(taken // HOURS, 1),
        rows=rows,
        panes=taken * HOUR_MS // pane_ms,
        pane_ms=pane_ms,
        stats={name: quantity.moments() for name, quantity in quantities.items()},
        cells={name: quantities[name].by_hour() for name in before.edges},
        logs={name: quantity.log() for name, quantity in quantities.items() if name not in before.edges},
        categories={name: _total(by_hour) for (name, counter), by_hour in texts.items() if not counter},
        counters={name: _total(by_hour) for (name, counter), by_hour in texts.items() if counter},
        shares={name: _shares(by_hour) for (name, counter), by_hour in texts.items() if not counter},
        sample_names=(),
        sample=np.empty((0, 0), np.float32),
    )
    made, _ = rebuilt(
        scope, before, counted, built_from=f"windows from {span.words}", effective_from_ms=effective_from_ms,
        may_recut=False,
    )  # fmt: skip
    return _with_rows(replace(made, learned_days=-1), current)


def _quantities(client: ClickHouse, asked: Mapping[str, Any]) -> dict[str, _Quantity]:
    found: dict[str, _Quantity] = defaultdict(_Quantity)
    for name, start, layout, bins, counts, *stats in client.query(_NUMERIC, asked).rows:
        one = found[name]
        one.starts.append(int(start))
        one.layouts.append(layout)
        one.bins.append(np.array(bins, np.int64))
        one.counts.append(np.array(counts, np.int64))
        one.stats.append(tuple(float(value) for value in stats))
    return dict(found)


def _edges(client: ClickHouse, ids: set[str]) -> dict[str, dict[str, bytes]]:
    """Layout → quantity → edges."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    if ids:
        for baseline_id, name, edges in client.query(_EDGES, {"ids": sorted(ids)}).rows:
            found[baseline_id][name] = np.array(edges, "<f8").tobytes()
    return found


def _cut_of(name: str, quantity: _Quantity, edges: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The edges by which all windows of a quantity were cut, ``b""`` for LogHistograms; or an error that names them."""
    first: dict[str, int] = {}
    for layout, start in zip(quantity.layouts, quantity.starts, strict=True):
        first.setdefault(layout, start)
    cuts = {layout: edges.get(layout, {}).get(name, b"") if layout else b"" for layout in first}
    lost = [layout for layout in first if layout and not cuts[layout]]
    if lost or len(set(cuts.values())) > 1:
        told = ", ".join(f"{layout or 'LogHistogram'} from {_utc(start)}" for layout, start in first.items())
        raise ConfigError(
            f"The windows of {name} were counted in layouts that cannot be added: {told}.", "--since, --until",
            "Give a span in which there is but one: one that begins an hour after the last of these.",
        )  # fmt: skip
    return next(iter(cuts.values()))


def _layout(named: set[str], edges: Mapping[str, Mapping[str, bytes]], cut: Mapping[str, bytes]) -> str:
    """The layout whose edges these are, each and all; ``""`` if they are those of no one."""
    wanted = {name: one for name, one in cut.items() if one}
    return next((layout for layout in sorted(named) if dict(edges.get(layout, {})) == wanted), "")


def _texts(client: ClickHouse, asked: Mapping[str, Any]) -> dict[tuple[str, bool], dict[int, dict[str, int]]]:
    """(Quantity, whether it is a counter) → hour of the day → value → count."""
    found: dict[tuple[str, bool], dict[int, dict[str, int]]] = {}
    for name, counter, start, value, count in client.query(_CATEGORIES, asked).rows:
        own = found.setdefault((name, bool(counter)), {}).setdefault(_hour(int(start)), {})
        own[value] = own.get(value, 0) + int(count)
    return found


def _total(by_hour: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in by_hour.values():
        for value, count in counts.items():
            total[value] = total.get(value, 0) + count
    return total


def _shares(by_hour: Mapping[int, Mapping[str, int]]) -> Ints:
    """int64[24, K] of the K values."""
    values = {value: place for place, value in enumerate(sorted({v for counts in by_hour.values() for v in counts}))}
    table = np.zeros((HOURS, len(values)), np.int64)
    for hour, counts in by_hour.items():
        for value, count in counts.items():
            table[hour, values[value]] = count
    return table


def _with_rows(baseline: Baseline, current: Baseline | None) -> Baseline:
    """The baseline with the rows of the one in force, and how quantities stand to each other in them."""
    if current is None or not current.sample:
        return building.identified(baseline)
    joint = building.joint_of(
        current.sample_names, reference_sample(current), {part.name: part for part in baseline.numeric}
    )
    return building.identified(replace(baseline, sample_names=current.sample_names, sample=current.sample, joint=joint))


def _hour(start_ms: int) -> int:
    return start_ms // HOUR_MS % HOURS


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"
