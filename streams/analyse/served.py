"""What models were asked and answered lately: for the windows of their labels, which come from another topic."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from detectors.protocol import Role, ServedColumns, WindowBatch
from schemas.scopes import Family, Scope

WINDOW_MS: Final = 60_000
"""Length of the windows that are taken in, and in which labels are looked at."""
_KEPT: Final = 0.5 ** (1 / 10)
"""Of the scores of a window before: ten minutes' half-life."""
_Answers = tuple[int, float, float, float]
"""Predictions of the newest window; weighted: scores, their sum, and the sum of what their baselines let expect."""


class Served:
    """The newest minute of every model of a partition, and its scores of the last ten minutes or so.

    Follows from the order of the log, as all else of a partition does: a model's predictions and labels meet in it.
    Labels are late by nature, so that which minute of traffic stands beside which minute of labels is no matter.
    """

    def __init__(self) -> None:
        self._of: dict[str, _Answers] = {}

    def see(self, batch: WindowBatch) -> None:
        """Take in a closed window of predictions; those of other families and lengths are passed over."""
        if batch.size_ms != WINDOW_MS or batch.scopes.family[0] is not Family.PREDICTION:
            return
        before, self._of = self._of, {}
        wholes = {place: key.model for place, key in enumerate(batch.scopes.key) if not key.segment}
        for place, model in wholes.items():
            rows, scores, total, expected = self._of.get(model) or (0, *_faded(before.get(model)))
            self._of[model] = (rows + int(batch.scopes.rows[place]), scores, total, expected)
        numeric = batch.numeric
        for at in np.flatnonzero((numeric.role == Role.SCORE) & (numeric.count > 0)).tolist():
            name = wholes.get(int(numeric.scope[at]))
            if name is not None and np.isfinite(numeric.ref_mean[at]):
                count = float(numeric.count[at])
                rows, scores, total, expected = self._of[name]
                total, expected = (
                    total + count * float(numeric.mean[at]),
                    expected + count * float(numeric.ref_mean[at]),
                )
                self._of[name] = (rows, scores + count, total, expected)

    def joined(self, batch: WindowBatch) -> WindowBatch:
        """The batch as the detectors see it: labels beside what was served, which all others may add to."""
        self.see(batch)
        if batch.scopes.family[0] is not Family.LABEL:
            return batch
        return replace(batch, served=self.beside(batch.scopes.key))

    def beside(self, scopes: Sequence[Scope]) -> ServedColumns:
        """What stands beside the labels of these scopes; NaN for models of which no prediction is known."""
        known = [self._of.get(scope.model) for scope in scopes]
        rows = [float(one[0]) if one else np.nan for one in known]
        score = [one[2] / one[1] if one and one[1] else np.nan for one in known]
        expected = [one[3] / one[1] if one and one[1] else np.nan for one in known]
        return ServedColumns(np.array(rows, np.float64), np.array(score, np.float64), np.array(expected, np.float64))

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {model: list(answers) for model, answers in self._of.items()}

    def load_parts(self, parts: dict[str, Any]) -> None:
        """Take over what :meth:`to_parts` gave."""
        self._of = {model: (int(rows), float(n), float(s), float(e)) for model, (rows, n, s, e) in parts.items()}


def _faded(answers: _Answers | None) -> tuple[float, float, float]:
    if answers is None:
        return 0.0, 0.0, 0.0
    _, scores, total, expected = answers
    return _KEPT * scores, _KEPT * total, _KEPT * expected
