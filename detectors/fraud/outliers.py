"""Share of a window's rows that are outliers to the baseline, by all their values together."""

from collections.abc import Sequence
from typing import ClassVar, Self

import msgspec
import numpy as np

from detectors import scoring, special, state
from detectors.adapters.pyod_iforest import OutlierModel
from detectors.parameters import check_bounds
from detectors.protocol import Floats, Ints, Scores, WindowBatch


class OutlierParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``outlier_ratio`` of the baseline are outliers by definition; ``floor_ratio`` more than that are a finding.

    The first ``max_scopes`` scopes that get a reference are watched, each by ``max_reference_rows`` of its rows.
    """

    window_s: int = 60
    outlier_ratio: float = 0.02
    floor_ratio: float = 0.05
    min_rows: int = 100
    min_reference_rows: int = 600
    max_reference_rows: int = 1_500
    max_scopes: int = 200
    exemplars: int = 5
    seed: int = 20_240_611
    false_alarm_ratio: float = 1e-4

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_bounds(self, window_s=(1, 86_400), outlier_ratio=(0.001, 0.5), floor_ratio=(0, 1), min_rows=(1, 10**6))
        check_bounds(self, min_reference_rows=(60, 10**6), max_reference_rows=(60, 10**6), max_scopes=(0, 10**5))
        check_bounds(self, exemplars=(0, 100), seed=(0, 2**31 - 1), false_alarm_ratio=(1e-12, 0.1))


class RowOutliers:
    r"""Share of a scope's row sample beyond the reference's own outlier limit, less the share expected.

    The score is $\max(0, s - q)$ with q the ``outlier_ratio``. Noise takes the outliers for a Poisson count around
    $N (q + ½/M)$ with the standard deviation widened by $\sqrt{1 + N/M}$, for the limit was set with M held-out rows.

    Parameters
    ----------
    params
        See :class:`OutlierParams`.

    Notes
    -----
    Some milliseconds per scope. Without :meth:`set_reference` a scope is not ready. The state is the reference rows
    (float32) by scope id; forests are grown from them again, with the same seed, when first needed.
    """

    kind: ClassVar[str] = "outliers"
    state_version: ClassVar[int] = 1

    def __init__(self, params: OutlierParams | None = None) -> None:
        self.params = params or OutlierParams()
        self.window_s = self.params.window_s
        self._z = special.z_of(self.params.false_alarm_ratio)
        self._references: dict[int, tuple[tuple[str, ...], Floats]] = {}
        self._models: dict[int, OutlierModel | None] = {}

    def set_reference(self, scope_id: int, names: Sequence[str], matrix: Floats) -> None:
        """Let float64[r, k] rows of quantities ``names`` be the reference of a scope; too few or none: not watched."""
        self.drop_reference(scope_id)
        r, least = len(matrix), self.params.min_reference_rows
        if not names or r < least or len(self._references) >= self.params.max_scopes:
            return
        stride = np.linspace(0, r - 1, min(r, self.params.max_reference_rows)).astype(np.int64)
        # As float32 always, so that what is grown now is grown from the saved state too.
        rows = np.asarray(matrix, np.float32)[stride].astype(np.float64)
        self._references[scope_id] = (tuple(names), rows)

    def drop_reference(self, scope_id: int) -> None:
        """Stop watching a scope."""
        self._references.pop(scope_id, None)
        self._models.pop(scope_id, None)

    def step(self, windows: WindowBatch) -> Scores:
        """Score every scope with a row sample."""
        samples, params = windows.samples, self.params
        scope = np.array(samples.scope, np.int64)
        N, M, beyond = np.zeros(len(scope)), np.ones(len(scope)), np.full(len(scope), np.nan)
        exemplars: dict[int, tuple[str, ...]] = {}
        for row, place in enumerate(scope.tolist()):
            rows = samples.values[row]
            N[row] = len(rows)
            found = self._outlying(int(windows.scopes.id[place]), samples.names[row], rows)
            if found is not None:
                M[row], outlying = found
                beyond[row] = (outlying > 0).sum()
                exemplars[row] = _worst(outlying, samples.event_ids[row], params.exemplars)
        some = np.maximum(N, 1)
        share, expected = beyond / some, some * (params.outlier_ratio + 0.5 / M)
        widen = np.sqrt(1 + some / M)
        noise = special.count_upper(expected, self._z, widen) / some - params.outlier_ratio
        measured = scoring.Measured(
            score=np.maximum(share - params.outlier_ratio, 0),
            floor=params.floor_ratio,
            noise=noise,
            value=share,
            reference=params.outlier_ratio,
            threshold=params.outlier_ratio + np.maximum(params.floor_ratio, noise),
            exemplars=exemplars,
        )
        series = windows.scopes.series["outliers"][scope]
        subject = scoring.Subject(series, scope, ["outliers"] * len(scope), N.astype(np.int64))
        return scoring.scores(self.kind, "of rows", subject, ~np.isnan(beyond), measured)

    def _outlying(self, scope_id: int, names: tuple[str, ...], rows: Floats) -> tuple[int, Floats] | None:
        """Held-out rows and, for each row, how far it is beyond the limit; None where the scope is not ready."""
        if scope_id not in self._references or len(rows) < self.params.min_rows:
            return None
        wanted, reference = self._references[scope_id]
        if scope_id not in self._models:
            self._models[scope_id] = OutlierModel.of(reference, self.params.outlier_ratio, self.params.seed)
        model = self._models[scope_id]
        if model is None:
            return None
        aligned = np.full((len(rows), len(wanted)), np.nan)
        for column, name in enumerate(wanted):
            if name in names:
                aligned[:, column] = rows[:, names.index(name)]
        return model.calibrated, model.outlying(aligned)

    def forget(self, series: Ints) -> None:
        """Nothing is kept by series: see :meth:`drop_reference`."""

    def to_bytes(self) -> bytes:
        """The references."""
        arrays = {}
        for scope_id, (names, rows) in self._references.items():
            arrays[f"{scope_id} " + "\n".join(names)] = rows.astype(np.float32)
        return state.pack(self.kind, self.state_version, arrays)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, OutlierParams))
        for key, rows in state.unpack(raw, cls.kind, cls.state_version).items():
            scope_id, _, names = key.partition(" ")
            detector._references[int(scope_id)] = (tuple(names.split("\n")), rows.astype(np.float64))
        return detector


def _worst(outlying: Floats, event_ids: Sequence[str], most: int) -> tuple[str, ...]:
    order = np.argsort(-outlying, kind="stable")[:most].tolist()
    return tuple(event_ids[i] for i in order if outlying[i] > 0 and i < len(event_ids) and event_ids[i])
