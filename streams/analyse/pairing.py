"""What feature sets served to models, beside what those models say they were given: two topics, the same minutes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import moments
from detectors.protocol import (
    NUMBER,
    CategoryColumns,
    NumericColumns,
    ReadColumns,
    SampleColumns,
    ScopeColumns,
    WindowBatch,
)
from schemas.scopes import INVALID, OTHER, Family, Scope
from streams.analyse.registry import Registry
from streams.analyse.window import Window

Ints = NDArray[np.int64]

SIDES: Final = {Family.FEATURE: Family.READ, Family.PREDICTION: Family.PREDICTION}
"""The families whose windows are paired, and whose scopes are taken from each."""
_KEPT: Final = 3
"""Windows of a side that wait for the other; one whose partner comes later than that is not compared."""
_FEATURE: Final = "features."


class Told(msgspec.Struct, array_like=True):
    """What one version, or one feature set, tells of its features in a window: their moments, and their texts."""

    rows: int
    stats: dict[str, tuple[float, float, float, float, float]]
    texts: dict[str, dict[str, int]]


Side = dict[str, dict[str, Told]]
"""Model → version, or the segment that names a feature set → what it tells."""


class Pairing:
    """The newest windows of each side, until the same window of the other side is closed too.

    Which side is first follows from the log, and so does everything here. Only the features that some set serves to a
    model are kept of its predictions: nothing at all where no read names a model.
    """

    def __init__(self) -> None:
        self._waiting: dict[Family, dict[int, Side]] = {side: {} for side in SIDES}

    def take(self, window: Window, registry: Registry) -> WindowBatch | None:
        """Take in a closed window; the reads in it beside the predictions in it, if it has both and they have met."""
        if window.family not in SIDES:
            return None
        wanted = _read(registry)
        if not wanted:
            return None
        own = self._waiting[window.family]
        own[window.start_ms] = _side(window, registry, wanted)
        for start in sorted(own)[:-_KEPT]:
            del own[start]
        if any(window.start_ms not in waiting for waiting in self._waiting.values()):
            return None
        reads, predictions = (self._waiting[side].pop(window.start_ms) for side in (Family.FEATURE, Family.PREDICTION))
        return _batch(window, reads, predictions, registry)

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {family.value: msgspec.to_builtins(waiting) for family, waiting in self._waiting.items()}

    def load_parts(self, parts: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_parts` gave; nothing where a state is older than this."""
        for family in SIDES:
            self._waiting[family] = msgspec.convert(parts.get(family.value, {}), dict[int, Side], strict=False)


def _read(registry: Registry) -> dict[str, set[str]]:
    """Model → the features that are served to it."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for number, scope in registry.known():
        if scope.family is Family.READ and scope.model not in {OTHER, INVALID}:
            wanted[scope.model] |= {name for name in registry.names_of(number) if name.startswith(_FEATURE)}
    return wanted


def _side(window: Window, registry: Registry, wanted: Mapping[str, set[str]]) -> Side:
    """What a window has of the wanted features of wholes."""
    side: Side = defaultdict(dict)
    told: dict[int, Told] = {}
    for number in sorted(window.rows):
        scope = registry.scopes[number]
        if scope is None or scope.family is not SIDES[window.family] or not window.rows[number]:
            continue
        # Reads are told apart by their sets; of predictions, versions are, and segments say nothing more.
        is_read = scope.family is Family.READ
        if scope.model in wanted and (is_read or not scope.segment):
            who = scope.segment if is_read else scope.model_version
            told[number] = side[scope.model][who] = Told(window.rows[number], {}, {})
    folded = window.fold()
    scope_of = registry.scope_of[folded.ids]
    for at in np.flatnonzero(np.isin(scope_of, list(told))).tolist():
        number, name = int(scope_of[at]), registry.names[int(folded.ids[at])]
        if name in wanted[_model(registry, number)] and folded.stats[at, 0]:
            count, mean, m2, low, high = folded.stats[at].tolist()
            told[number].stats[name] = count, mean, m2, low, high
    for series, counts in window.texts.items():
        number, name = int(registry.scope_of[series]), registry.names[series]
        if number in told and name in wanted[_model(registry, number)]:
            told[number].texts[name] = dict(counts)
    return dict(side)


def _model(registry: Registry, scope: int) -> str:
    known = registry.scopes[scope]
    return known.model if known else ""


def _batch(window: Window, reads: Side, predictions: Side, registry: Registry) -> WindowBatch | None:
    """What the detectors see: the scopes are those of reads."""
    scopes = [Scope(Family.READ, model, "", of_set) for model, sets in sorted(reads.items()) for of_set in sorted(sets)]
    places = {scope: place for place, scope in enumerate(scopes)}
    found: list[tuple[int, str, tuple[str, ...], list[Told], list[Told]]] = []
    for model in sorted(set(reads) & set(predictions)):
        sets = reads[model]
        for name in sorted({name for told in sets.values() for name in (*told.stats, *told.texts)}):
            by = tuple(sorted(who for who, told in sets.items() if _has(told, name)))
            versions = [told for told in predictions[model].values() if _has(told, name)]
            if versions:
                place = places[Scope(Family.READ, model, "", by[0])]
                found.append((place, name, by, [sets[who] for who in by], versions))
    if not found:
        return None
    served = [_together(parts, name) for _, name, _, parts, _ in found]
    given = [_together(parts, name) for _, name, _, _, parts in found]
    values = [(NUMBER, *sorted({*one, *other} - {NUMBER})) for (_, one), (_, other) in zip(served, given, strict=True)]
    rows = np.array([reads[scope.model][scope.segment].rows for scope in scopes], np.int64)
    columns = ReadColumns(
        np.array([place for place, *_ in found], np.int64),
        np.array([_series(registry, scopes[place], name) for place, name, *_ in found], np.int64),
        [name for _, name, *_ in found],
        [tuple(of_set.partition("=")[2] for of_set in by) for _, _, by, *_ in found],
        np.array([numbers for numbers, _ in served], np.float64),
        np.array([numbers for numbers, _ in given], np.float64),
        values,
        _table(values, [counts for _, counts in served]),
        _table(values, [counts for _, counts in given]),
    )
    return WindowBatch(
        window.start_ms, window.size_ms, _scopes(scopes, rows, registry), NumericColumns.none(),
        CategoryColumns.none(), SampleColumns([], [], [], []), reads=columns,
    )  # fmt: skip


def _has(told: Told, name: str) -> bool:
    return name in told.stats or name in told.texts


def _together(parts: Iterable[Told], name: str) -> tuple[list[float], dict[str, int]]:
    """All events of some versions or sets, with the moments of a feature's numbers, and the counts of its texts."""
    rows, stats, counts = 0, np.array(moments.EMPTY), dict[str, int]()
    for told in parts:
        rows += told.rows
        if name in told.stats:
            stats = moments.merge(stats, np.array(told.stats[name]))
        for text, count in told.texts.get(name, {}).items():
            counts[text] = counts.get(text, 0) + count
    counts[NUMBER] = counts.get(NUMBER, 0) + int(stats[moments.COUNT])
    return [float(rows), *stats.tolist()], counts


def _table(values: list[tuple[str, ...]], counts: list[dict[str, int]]) -> Ints:
    table = np.zeros((len(values), max(map(len, values))), np.int64)
    for row, (names, own) in enumerate(zip(values, counts, strict=True)):
        table[row, : len(names)] = [own.get(name, 0) for name in names]
    return table


def _series(registry: Registry, scope: Scope, name: str) -> int:
    return registry.id(registry.scope(scope), name)


def _scopes(scopes: list[Scope], rows: Ints, registry: Registry) -> ScopeColumns:
    none, unknown = np.zeros(len(scopes), np.int64), np.full(len(scopes), np.nan)
    numbers = np.array([registry.scope(scope) for scope in scopes], np.int64)
    return ScopeColumns(numbers, [Family.READ] * len(scopes), rows, none, none, none, unknown, unknown, {}, scopes)
