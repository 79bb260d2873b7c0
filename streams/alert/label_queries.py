"""The queries that recompute what is said of labels."""

from typing import Final

_DELAY: Final = (
    "SELECT start, sumIf(rows + late, family = 'label') AS labels, sumIf(rows, family = 'prediction') AS predictions "
    "FROM volume WHERE model = {model} AND segment = '' AND window_s = {window_s} "
    "AND family IN ('label', 'prediction') AND start >= {since} AND start <= {start} GROUP BY start ORDER BY start"
)
_RATE: Final = (
    "SELECT start, count AS labels, sum AS positives, mean AS positive_ratio FROM windows "
    "WHERE {scope} AND {quantity} AND window_s = {window_s} AND start >= {since} AND start <= {start} ORDER BY start"
)
LABEL_QUERIES: Final = {"label_delay": _DELAY, "label_rate": _RATE}
"""Detector → query, from the beginning of what it sees to the window of the finding."""
