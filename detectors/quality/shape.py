"""What fields events have, and whether they hold numbers or texts: a contract that nobody has renewed."""

from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from detectors import scoring, special
from detectors.parameters import check_bounds
from detectors.protocol import Bools, Floats, Ints, Role, Scores, WindowBatch
from detectors.stateless import Stateless

_SHARED: Final = "fields"


class SchemaParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` is the rise of the share of values of the other type below which nobody cares.

    A field that no event has is gone where at least ``usual_ratio`` of the events had it; what fewer had is optional.
    """

    window_s: int = 60
    floor_ratio: float = 0.05
    usual_ratio: float = 0.5
    min_rows: int = 50
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), usual_ratio=(0.01, 1), min_rows=(1, 10**9))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


class NewFieldParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``floor_ratio`` is the share of events below which nobody cares for a field that the baseline does not know."""

    window_s: int = 60
    floor_ratio: float = 0.05
    min_rows: int = 50
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), floor_ratio=(0, 1), min_rows=(1, 10**9))
        check_bounds(self, false_alarm_ratio=(1e-12, 0.1))


@dataclass(frozen=True, slots=True)
class Fields:
    """The k fields of a window and of its baselines, numbers and texts of one name together.

    ``series``, ``scope``, ``rows``, ``numbers``, ``texts`` int64[k] are of the window; ``ref_rows``, ``ref_numbers``
    and ``ref_texts`` of the scope's baseline, 0 without one. ``quantity`` are their names, ``feature`` bool[k] tells
    features from what every event has.
    """

    series: Ints
    scope: Ints
    quantity: list[str]
    feature: Bools
    rows: Ints
    numbers: Ints
    texts: Ints
    ref_rows: Ints
    ref_numbers: Ints
    ref_texts: Ints

    @classmethod
    def of(cls, windows: WindowBatch) -> Self:
        """The fields of a window; gauges are left out, for what a device does not support is null for good."""
        found: Self | None = windows.shared.get(_SHARED)
        if found is None:
            found = windows.shared[_SHARED] = cls._of(windows)
        return found

    @classmethod
    def _of(cls, windows: WindowBatch) -> Self:
        numeric, categories = windows.numeric, windows.categories
        mine, own = np.flatnonzero(numeric.role != Role.GAUGE), np.flatnonzero(~categories.counter)
        known, wanted = numeric.series[mine], categories.series[own]
        order = np.argsort(known, kind="stable")
        at = np.minimum(np.searchsorted(known, wanted, sorter=order), max(len(known) - 1, 0))
        place = order[at] if len(known) else np.full(len(wanted), -1)
        alone = (known[place] != wanted) if len(known) else np.ones(len(wanted), np.bool_)
        # Fields with numbers first, in their order; behind them those that are texts alone.
        place[alone] = len(mine) + np.arange(int(alone.sum()))
        texts = own[alone]
        count = len(mine) + len(texts)

        def of_texts(values: Ints) -> Ints:
            column = np.zeros(count, np.int64)
            column[place] = values[own]
            return column

        def of_numbers(values: Ints) -> Ints:
            return np.concatenate((values[mine], np.zeros(len(texts), np.int64)))

        scope = np.concatenate((numeric.scope[mine], categories.scope[texts]))
        ref_rows = np.zeros(len(windows.scopes.id), np.int64)
        np.maximum.at(ref_rows, numeric.scope, numeric.ref_rows)
        np.maximum.at(ref_rows, categories.scope[own], categories.ref_rows[own])
        return cls(
            np.concatenate((known, categories.series[texts])),
            scope,
            [*map(numeric.name.__getitem__, mine.tolist()), *map(categories.name.__getitem__, texts.tolist())],
            np.concatenate((numeric.role[mine] == Role.FEATURE, np.ones(len(texts), np.bool_))),
            windows.scopes.rows[scope],
            of_numbers(numeric.count),
            of_texts(categories.cur.sum(axis=1)),
            ref_rows[scope],
            of_numbers(np.where(numeric.has_baseline, numeric.ref_count, 0)),
            of_texts(np.where(categories.has_baseline, categories.ref.sum(axis=1), 0)),
        )

    def take(self, places: Ints) -> Self:
        """The fields at ``places`` int64[j]."""
        kept = {f.name: getattr(self, f.name)[places] for f in fields_of(self) if f.name != "quantity"}
        return type(self)(quantity=[self.quantity[i] for i in places.tolist()], **kept)

    @property
    def subject(self) -> scoring.Subject:
        """Whose scores they are."""
        return scoring.Subject(self.series, self.scope, self.quantity, self.rows)


class SchemaChange(Stateless[SchemaParams]):
    r"""Fields that are gone, and values that come as another type than in the baseline.

    *Gone*: no event has a value, and at least half of the baseline's events had one. The score is their share there;
    chance leaves all of N events without one with a probability of $(1 - p)^N$. *Type*: the share of the values that
    are texts, or numbers, whichever rose; noise as for nulls. A field whose values are all of the other type is not
    gone. Values that are missing in some events are nulls, and theirs to say.

    Parameters
    ----------
    params
        See :class:`SchemaParams`.

    Notes
    -----
    O(N + C), no state.
    """

    kind: ClassVar[str] = "schema"
    state_version: ClassVar[int] = 1
    params_type = SchemaParams

    def __init__(self, params: SchemaParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every field that the baseline has, in scopes with ``min_rows`` events."""
        fields, params = Fields.of(windows), self.params
        values, ref_values = fields.numbers + fields.texts, fields.ref_numbers + fields.ref_texts
        ready = (fields.rows >= params.min_rows) & (fields.ref_rows >= params.min_rows) & (ref_values > 0)
        had = np.minimum(ref_values / np.maximum(fields.ref_rows, 1), 1.0)
        gone = (values == 0) & (had >= params.usual_ratio)
        typed = self._type(fields, values, ref_values)
        # What is no value at all has no type.
        ready &= gone | (values > 0)
        floor = np.where(gone, params.usual_ratio, params.floor_ratio)
        noise, p_value = np.array(typed.noise), np.array(typed.p_value)
        rows = fields.rows[gone]
        noise[gone] = 1 - params.false_alarm_ratio ** (1 / np.maximum(rows, 1))
        p_value[gone] = np.power(1 - np.minimum(had[gone], 1 - 1e-12), rows)
        reference = np.where(gone, 1 - had, typed.reference)
        measured = scoring.Measured(
            score=np.where(gone, had, typed.score),
            floor=floor,
            noise=noise,
            p_value=p_value,
            value=np.where(gone, 1.0, np.asarray(typed.value)),
            reference=reference,
            threshold=np.minimum(reference + np.maximum(floor, noise), 1.0),
            label=[*map(("type", "gone").__getitem__, gone.tolist())],
        )
        return scoring.scores(self.kind, "changed ratio", fields.subject, ready, measured)

    def _type(self, fields: Fields, values: Ints, ref_values: Ints) -> scoring.Measured:
        """The share of values of the type of which there are more than in the baseline."""
        N, M = np.maximum(values, 1), np.maximum(ref_values, 1).astype(np.float64)
        more_texts = fields.texts * M >= fields.ref_texts * N
        counted: Ints = np.where(more_texts, fields.texts, fields.numbers)
        usual: Floats = np.where(more_texts, fields.ref_texts, fields.ref_numbers) / M
        return scoring.excess_ratio(counted, values, usual, M, self.params.floor_ratio, self._z)


class NewField(Stateless[NewFieldParams]):
    """Features that the baseline does not have, by the share of events that have them.

    Parameters
    ----------
    params
        See :class:`NewFieldParams`.

    Notes
    -----
    O(N + C), no state. Noise as for nulls: none among the baseline's events is not none possible.
    """

    kind: ClassVar[str] = "new_field"
    state_version: ClassVar[int] = 1
    params_type = NewFieldParams

    def __init__(self, params: NewFieldParams | None = None) -> None:
        super().__init__(params)
        self._z = special.z_of(self.params.false_alarm_ratio)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every feature without a reference in scopes that have a baseline and ``min_rows`` events."""
        fields, params = Fields.of(windows), self.params
        fields = fields.take(np.flatnonzero(fields.feature & (fields.ref_numbers + fields.ref_texts == 0)))
        ready = (fields.rows >= params.min_rows) & (fields.ref_rows >= params.min_rows)
        present = fields.numbers + fields.texts
        measured = scoring.excess_ratio(
            present, fields.rows, np.zeros(len(present)), np.maximum(fields.ref_rows, 1), params.floor_ratio, self._z
        )
        return scoring.scores(self.kind, "new ratio", fields.subject, ready & (present > 0), measured)
