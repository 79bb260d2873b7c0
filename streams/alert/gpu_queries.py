"""The queries that recompute what the detectors of GPUs say.

Filled in by :func:`streams.alert.evidence.sql_of`, like the others.
"""

from typing import Final

_SPELL: Final = (
    "SELECT value, sum(count) AS errors, min(start) AS first, max(start) AS last FROM categories "
    "WHERE {scope} AND window_s = {window_s} AND quantity = 'xid' AND counter AND start BETWEEN {since} AND {start} "
    "GROUP BY value ORDER BY errors DESC"
)
_GROWN: Final = (
    "SELECT start, max - lagInFrame(max, 1, max) OVER (ORDER BY start ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) "
    "AS errors FROM windows WHERE {scope} AND window_s = {window_s} AND {quantity} "
    "AND start BETWEEN {since} - INTERVAL {window_s} SECOND AND {start} ORDER BY start"
)
_CORRECTED: Final = (
    "SELECT sum(least(greatest(grown, 0), 10)) AS errors FROM (SELECT start, max - lagInFrame(max, 1, max) OVER "
    "(ORDER BY start ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS grown FROM windows WHERE {scope} "
    "AND window_s = {window_s} AND {quantity} AND start BETWEEN {start} - INTERVAL 2 HOUR AND {start}) "
    "WHERE start >= toStartOfFiveMinutes({start}) - INTERVAL 55 MINUTE"
)
"""With the default of what counts of a burst."""
_IDLE: Final = (
    "SELECT count() AS windows, max(busy) AS busiest, sum((1 - busy) * {window_s} / 3600) AS gpu_hours, "
    "min(held) / pow(2, 30) AS held_gib FROM (SELECT start, anyIf(mean, quantity = 'utilization_ratio') AS busy, "
    "anyIf(min, quantity = 'memory_used_bytes') AS held FROM windows WHERE {scope} AND window_s = {window_s} "
    "AND start BETWEEN {since} AND {start} GROUP BY start)"
)
_LEAK: Final = (
    "SELECT span_h, 2 / span_h * (argMax(mean, start) - argMin(mean, start)) / pow(2, 30) AS gib_per_h "
    "FROM windows ARRAY JOIN [1, 2, 4] AS span_h WHERE {scope} AND window_s = {window_s} AND {quantity} "
    "AND start BETWEEN {start} - toIntervalMinute(30 * span_h) AND {start} GROUP BY span_h ORDER BY span_h"
)
"""Growth over the later half of all spans that are looked at: the value is that of one of them."""
_CLOCKS: Final = (
    "SELECT model_version AS gpu_uuid, anyIf(mean, quantity = 'sm_clock_hz') / 1e6 AS clock_mhz, "
    "anyIf(mean, quantity = 'utilization_ratio') AS busy, anyIf(max, quantity = 'sm_clock_max_hz') / 1e6 AS most_mhz "
    "FROM windows WHERE {host} AND {at} GROUP BY gpu_uuid ORDER BY clock_mhz"
)

GPU_QUERIES: Final = {
    "gpu_xid": _SPELL,
    "gpu_ecc": _GROWN,
    "gpu_ecc_rate": _CORRECTED,
    "gpu_idle": _IDLE,
    "gpu_leak": _LEAK,
    "gpu_slow": _CLOCKS,
}
"""Detector → query."""
