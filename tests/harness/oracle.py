"""What ClickHouse must show, computed in numpy from the events themselves; and the comparison."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tests.harness.installation import Installation
from tests.harness.traffic import MODELS, SEGMENTS, Floats, Ints, Traffic
from tests.harness.waiting import wait_for

SIZES_S: Final = (10, 60, 300)
QS: Final = (0.5, 0.95, 0.99)
_PLACES: Final = 1 << 30
Key = tuple[str, str, str, int, int]
"""(model, version, segment, window_s, start_ms)."""
Edges = Mapping[tuple[str, str], Mapping[str, Floats]]
"""(model, version) → quantity → float64[33]."""

_SCOPE: Final = "model, model_version, segment"
_START: Final = "toInt32(window_s), toUnixTimestamp64Milli(start)"


def ours(sizes_s: Sequence[int]) -> str:
    """What of a table is compared."""
    models = ", ".join(sorted({f"'{model}'" for model, _ in MODELS}))
    return f"family = 'prediction' AND model IN ({models}) AND window_s IN ({', '.join(map(str, sizes_s))})"


@dataclass
class Level:
    """One way to cut the events into scopes: the wholes, or the values of one segment."""

    code: Ints
    names: list[tuple[str, str, str]]

    def key(self, group: int, size_s: int) -> Key:
        """What a group number stands for."""
        scope, window = divmod(group, _PLACES)
        return (*self.names[scope], size_s, window * size_s * 1000)


def levels(traffic: Traffic) -> Iterator[Level]:
    """All scopes: each event is in one of the first level, and in at most one of every other."""
    yield Level(traffic.model, [(model, version, "") for model, version in MODELS])
    for name, values in SEGMENTS.items():
        codes = traffic.segments[name]
        names = [(model, version, f"{name}={value}") for model, version in MODELS for value in values]
        yield Level(np.where(codes < 0, -1, traffic.model * len(values) + codes), names)


@dataclass
class Oracle:
    """All numbers of some traffic.

    Parameters
    ----------
    traffic
        The events.
    sizes_s
        Lengths of the windows.
    through_ms
        Windows that end later have not closed, and are not shown; None: all have.
    """

    traffic: Traffic
    sizes_s: tuple[int, ...] = SIZES_S
    through_ms: int | None = None

    def __post_init__(self) -> None:
        self.late, self.late_pane = self.traffic.late()
        self.levels = list(levels(self.traffic))

    @property
    def events(self) -> int:
        """Events of the models that are compared."""
        return int((self.traffic.model >= 0).sum())

    @property
    def on_time(self) -> int:
        """Those of them that are counted in a window."""
        return int((~self.late & (self.traffic.model >= 0)).sum())

    def volumes(self) -> dict[Key, tuple[int, int]]:
        """(rows, late) of every window that has either."""
        found: dict[Key, tuple[int, int]] = {}
        for level in self.levels:
            for size_s in self.sizes_s:
                rows = _counted(self._groups(level, size_s, ~self.late))
                late = _counted(self._groups(level, size_s, self.late))
                for group in rows.keys() | late.keys():
                    found[level.key(group, size_s)] = (rows.get(group, 0), late.get(group, 0))
        return found

    def totals(self) -> tuple[dict[int, int], dict[int, int]]:
        """Events of the whole scopes by length of window: all, and those that came in time."""
        events, on_time = dict.fromkeys(self.sizes_s, 0), dict.fromkeys(self.sizes_s, 0)
        for (_, _, segment, size_s, _), (rows, late) in self.volumes().items():
            if not segment:
                events[size_s] += rows + late
                on_time[size_s] += rows
        return events, on_time

    def _closed(self, time_ms: Ints, size_s: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether the window of each time has closed."""
        end_ms = (time_ms // (size_s * 1000) + 1) * (size_s * 1000)
        return end_ms <= (np.iinfo(np.int64).max if self.through_ms is None else self.through_ms)

    def _groups(self, level: Level, size_s: int, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Ints:
        """The group of each event for which ``mask`` holds and which is in a scope of the level: late ones by the pane
        of their watermark."""
        time = np.where(self.late, self.late_pane, self.traffic.ts_ms)
        inside = mask & (level.code >= 0) & self._closed(time, size_s)
        groups: Ints = level.code[inside] * _PLACES + time[inside] // (size_s * 1000)
        return groups

    def numerics(self) -> Iterator[tuple[Key, str, Floats]]:
        """(window, quantity, its values in ascending order) of every window that has a value."""
        for name, values in self.traffic.numeric.items():
            ascending = np.argsort(values)
            mask = (~self.late & ~np.isnan(values))[ascending]
            for level in self.levels:
                own = ascending[mask & (level.code[ascending] >= 0)]
                for size_s in self.sizes_s:
                    kept = own[self._closed(self.traffic.ts_ms[own], size_s)]
                    if not len(kept):
                        continue
                    window = self.traffic.ts_ms[kept] // (size_s * 1000)
                    group = level.code[kept] * _PLACES + window
                    order = np.argsort(_ranks(group), kind="stable")
                    group = group[order]
                    starts = np.flatnonzero(np.diff(group, prepend=-1))
                    for part, first in zip(np.split(values[kept[order]], starts[1:]), starts.tolist(), strict=True):
                        yield level.key(int(group[first]), size_s), name, part

    def categories(self) -> dict[tuple[Key, str, str], int]:
        """Counts by window, quantity and value."""
        found: dict[tuple[Key, str, str], int] = {}
        for level in self.levels:
            for size_s in self.sizes_s:
                for name, (codes, values) in (*self.traffic.texts.items(), *self.traffic.counters.items()):
                    mask = ~self.late & (codes >= 0)
                    group = self._groups(level, size_s, mask)
                    own = codes[mask & (level.code >= 0) & self._closed(self.traffic.ts_ms, size_s)]
                    for joint, count in _counted(group * 64 + own).items():
                        found[level.key(joint // 64, size_s), name, values[joint % 64]] = count
        return found


def _ranks(groups: Ints) -> np.ndarray[Any, np.dtype[Any]]:
    """The same order in the smallest integers there are: numpy sorts 16 bits by radix, in a tenth of the time."""
    ranks = np.unique(groups, return_inverse=True)[1]
    return ranks.astype(np.uint16) if ranks.max(initial=0) < 1 << 16 else ranks


def _counted(groups: Ints) -> dict[int, int]:
    numbers, counts = np.unique(groups, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def log_bins(values: Floats) -> tuple[list[int], list[int]]:
    """The documented histogram of positive and negative values, by its formula: bins of 1 % from 1e-9 on."""
    size = np.maximum(np.ceil(np.log(np.maximum(np.abs(values), 1e-9) / 1e-9) / math.log(1.01 / 0.99)), 0)
    bins, counts = np.unique(np.copysign(size, values).astype(np.int64), return_counts=True)
    return bins.tolist(), counts.tolist()


# -- comparing ---------------------------------------------------------------------------------------------------------


def wait_shown(installation: Installation, oracle: Oracle, timeout_s: float) -> None:
    """Wait until every table holds as many events as it should, at every length; which they are is still to check.

    Tables are written each by itself, in any order: all are asked.
    """
    tables = ("sum(rows) + sum(late) FROM volume WHERE", "sum(count) FROM windows WHERE quantity = 'latency_ms' AND",
              "sum(count) FROM categories WHERE quantity = 'status' AND",
              "sum(events) FROM duplicates WHERE")  # fmt: skip
    events, on_time = oracle.totals()
    wanted, where = [events, on_time, on_time, on_time], ours(oracle.sizes_s)

    def totals() -> list[dict[int, int]]:
        installation.check_alive()
        asked = (f"SELECT window_s, {table} segment = '' AND {where} GROUP BY window_s" for table in tables)
        return [dict(installation.query(sql)) for sql in asked]

    def enough(found: list[dict[int, int]]) -> bool:
        # Too many must not pass for not yet enough: the comparison behind this says where they are.
        return all(f.get(s, 0) >= w[s] for f, w in zip(found, wanted, strict=True) for s in oracle.sizes_s)

    wait_for(f"tables hold {wanted}", totals, timeout_s, until=enough)


def check_volumes(installation: Installation, oracle: Oracle) -> None:
    """Events and late events of every window of every scope: none missing, none too many."""
    rows = installation.query(f"SELECT {_SCOPE}, {_START}, rows, late FROM volume WHERE {ours(oracle.sizes_s)}")
    _check_same(oracle.volumes(), {(*row[:5],): (row[5], row[6]) for row in rows})


def check_ids(installation: Installation, oracle: Oracle) -> None:
    """Every event on time of a whole has an id and is counted as such, and the sample of ids is one of them."""
    wanted = {key: rows for key, (rows, _) in oracle.volumes().items() if rows and not key[2]}
    columns = "rows, events, sampled, repeated, sampled_events"
    answer = installation.query(f"SELECT {_SCOPE}, {_START}, {columns} FROM duplicates WHERE {ours(oracle.sizes_s)}")
    _check_same(wanted, {(*row[:5],): row[6] for row in answer})
    for *key, rows, events, sampled, repeated, together in answer:
        assert rows == events, key
        assert 0 < sampled <= together <= events, key
        assert repeated <= together - sampled, key


def check_categories(installation: Installation, oracle: Oracle) -> None:
    """Counts of every value of every categorical quantity and counter."""
    rows = installation.query(
        f"SELECT {_SCOPE}, {_START}, quantity, value, count FROM categories WHERE {ours(oracle.sizes_s)}"
    )
    found = {((*row[:5],), row[5], row[6]): row[7] for row in rows}
    _check_same(oracle.categories(), found)


def _check_same(wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> None:
    keys = wanted.keys() | found.keys()
    wrong = [(key, wanted.get(key), found.get(key)) for key in keys if wanted.get(key) != found.get(key)]
    assert not wrong, f"{len(wrong)} of {len(wanted)} differ (which, expected, shown): {sorted(wrong, key=str)[:8]}"


def check_numerics(installation: Installation, oracle: Oracle, *, edges: Edges | None = None) -> int:
    """Every number of every window of every quantity; how many windows that were.

    ``edges`` are those of baselines that were in force throughout, by model and quantity.
    None: baselines were learned on the way, so bins are compared only where a window is wholly a LogHistogram.
    """
    columns = "rows, count, nulls, sum, mean, stddev, min, max, p50, p95, p99, layout, bins, counts"
    answer = installation.query(
        f"SELECT {_SCOPE}, {_START}, quantity, {columns} FROM windows WHERE {ours(oracle.sizes_s)}"
    )
    found = {((*row[:5],), row[5]): row[6:] for row in answer}
    volumes, seen = oracle.volumes(), set[tuple[Key, str]]()
    for key, quantity, values in oracle.numerics():
        row = dict(zip(columns.split(", "), found[key, quantity], strict=True))
        where = f"{key} {quantity}"
        assert (row["rows"], row["count"]) == (volumes[key][0], len(values)), where
        assert row["nulls"] == volumes[key][0] - len(values), where
        _check_moments(row, values, where)
        own = None if edges is None else edges.get(key[:2], {}).get(quantity)
        if own is not None:
            _check_binned(row, values, own, where)
        elif edges is None and row["layout"]:
            assert sum(row["counts"]) == len(values), f"{where}: layout {row['layout']}"
        else:
            _check_log(row, values, where)
        seen.add((key, quantity))
    _check_absent({which: row for which, row in found.items() if which not in seen}, volumes)
    _check_expected(set(found), volumes, edges or {})
    return len(seen)


def _check_absent(rest: Mapping[tuple[Key, str], Sequence[Any]], volumes: Mapping[Key, tuple[int, int]]) -> None:
    """What no event has a value for is shown as null in all of them, or not at all."""
    for (key, quantity), row in rest.items():
        rows, count, nulls = row[:3]
        assert (rows, count, nulls) == (volumes[key][0], 0, volumes[key][0]), f"{key} {quantity}: no event has it"
        assert rows > 0, f"{key} {quantity}: a window without an event"


def _check_expected(shown: set[tuple[Key, str]], volumes: Mapping[Key, tuple[int, int]], edges: Edges) -> None:
    """Every quantity of a whole's baseline is shown in every window in which it has events."""
    for key, (rows, _) in volumes.items():
        if rows and not key[2]:
            missing = [quantity for quantity in edges.get(key[:2], {}) if (key, quantity) not in shown]
            assert not missing, f"{key}: nothing is said of {missing}"


def _check_moments(row: dict[str, Any], values: Floats, where: str) -> None:
    assert math.isclose(row["sum"], float(values.sum()), rel_tol=1e-9), where
    assert math.isclose(row["mean"], float(values.mean()), rel_tol=1e-9), where
    assert (row["min"], row["max"]) == (values[0], values[-1]), where
    if len(values) > 1:
        assert math.isclose(row["stddev"], float(values.std(ddof=1)), rel_tol=1e-9), where


def _check_log(row: dict[str, Any], values: Floats, where: str) -> None:
    assert row["layout"] == "", where
    assert (list(row["bins"]), list(row["counts"])) == log_bins(values), where
    for name, q in zip(("p50", "p95", "p99"), QS, strict=True):
        exact = values[max(math.ceil(q * len(values) - 1e-9), 1) - 1]
        assert abs(row[name] - exact) <= 0.01 * abs(exact) * (1 + 1e-9), f"{where}: {name} {row[name]}, exactly {exact}"


def _check_binned(row: dict[str, Any], values: Floats, edges: Floats, where: str) -> None:
    assert row["layout"] != "", where
    cells = np.searchsorted(edges, values, side="right")
    cells[values == edges[-1]] = len(edges) - 1
    bins, counts = np.unique(cells, return_counts=True)
    assert (list(row["bins"]), list(row["counts"])) == (bins.tolist(), counts.tolist()), where
    ends = np.concatenate(([min(values[0], edges[0])], edges, [max(values[-1], edges[-1])]))
    for name, q in zip(("p50", "p95", "p99"), QS, strict=True):
        # Exact to the width of its bin: the quantile lies in the bin that holds the value of that rank.
        cell = int(cells[max(math.ceil(q * len(values) - 1e-9), 1) - 1])
        assert ends[cell] - 1e-9 <= row[name] <= ends[cell + 1] + 1e-9, f"{where}: {name} {row[name]}"
