"""Scores: what was injected against what was said.

:mod:`~loadgen.score.episodes` gathers alert events, :mod:`~loadgen.score.scorecard` judges them one run at a time,
:mod:`~loadgen.score.account` adds up runs by kind of injection, :mod:`~loadgen.score.picture` draws one.
"""

from loadgen.score.scorecard import Scorecard, explained_by, score, table, to_json, verdict

__all__ = ["Scorecard", "explained_by", "score", "table", "to_json", "verdict"]
