"""Scores: what was injected against what was said.

:mod:`~loadgen.score.episodes` gathers alert events, :mod:`~loadgen.score.scorecard` judges those of one run,
:mod:`~loadgen.score.totals` adds up runs by kind of injection, with :mod:`~loadgen.score.interval` beside them, and
:mod:`~loadgen.score.timeline` draws one.
"""
