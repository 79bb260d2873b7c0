-- What users query. FINAL is hidden here, and the parts of a window (as closed, and what came after the close) are
-- added up. Times are columns of DateTime64(3, 'UTC'); start is the start of a window.

CREATE OR REPLACE VIEW {database}.volume AS
SELECT
    family, model, model_version, segment, window_s, start_ms AS start,
    sum(v.rows) AS rows, sum(v.late) AS late,
    rows / window_s AS rows_per_s
FROM {database}.volumes_raw AS v FINAL
GROUP BY family, model, model_version, segment, window_s, start_ms
COMMENT 'events per scope and window';

CREATE OR REPLACE VIEW {database}.windows AS
SELECT
    w.family AS family, w.model AS model, w.model_version AS model_version, w.segment AS segment,
    w.quantity AS quantity, w.window_s AS window_s, w.start AS start,
    w.rows AS rows, w.count AS count,
    w.rows - w.count AS nulls,
    if(w.rows = 0, NULL, (w.rows - w.count) / w.rows) AS null_ratio,
    w.sum AS sum,
    if(w.count = 0, NULL, w.sum / w.count) AS mean,
    if(w.count < 2, NULL, sqrt(w.m2 / (w.count - 1))) AS stddev,
    if(w.count = 0, NULL, w.low) AS min,
    if(w.count = 0, NULL, w.high) AS max,
    if(w.count = 0 OR w.mixed OR (w.layout != '' AND empty(b.edges)), NULL, if(w.layout = '',
        halcyon_quantile(0.5, w.bins, w.counts),
        halcyon_quantile_binned(0.5, b.edges, w.bins, w.counts, w.low, w.high))) AS p50,
    if(w.count = 0 OR w.mixed OR (w.layout != '' AND empty(b.edges)), NULL, if(w.layout = '',
        halcyon_quantile(0.95, w.bins, w.counts),
        halcyon_quantile_binned(0.95, b.edges, w.bins, w.counts, w.low, w.high))) AS p95,
    if(w.count = 0 OR w.mixed OR (w.layout != '' AND empty(b.edges)), NULL, if(w.layout = '',
        halcyon_quantile(0.99, w.bins, w.counts),
        halcyon_quantile_binned(0.99, b.edges, w.bins, w.counts, w.low, w.high))) AS p99,
    w.m2 AS m2,
    w.layout AS layout,
    if(w.mixed, [], w.bins) AS bins,
    if(w.mixed, [], w.counts) AS counts
FROM
(
    SELECT
        family, model, model_version, segment, quantity, window_s, start_ms AS start,
        sum(n.rows) AS rows,
        sum(n.count) AS count,
        sumIf(n.count * n.mean, n.count > 0) AS sum,
        -- Chan's update, with deviations from the common mean: a difference of squares would cancel.
        sumIf(n.m2, n.count > 0) + if(count() = 1, 0, arraySum((k, m) -> if(k = 0, 0, k * pow(m - sum / count, 2)),
            groupArray(n.count), groupArray(n.mean))) AS m2,
        minIf(n.min, n.count > 0) AS low,
        maxIf(n.max, n.count > 0) AS high,
        any(n.layout) AS layout,
        -- Bins of two layouts cannot be added; counts and moments can.
        min(n.layout) != max(n.layout) AS mixed,
        -- Nearly every window has one part: sumMap over all of them would take five times as long.
        groupArray(n.bins) AS part_bins,
        groupArray(n.counts) AS part_counts,
        if(count() = 1, (part_bins[1], part_counts[1]), arrayReduce('sumMap', part_bins, part_counts)) AS cells,
        cells.1 AS bins,
        cells.2 AS counts
    FROM {database}.numerics_raw AS n FINAL
    GROUP BY family, model, model_version, segment, quantity, window_s, start_ms
    SETTINGS optimize_aggregation_in_order = 1
) AS w
ANY LEFT JOIN
(
    SELECT baseline_id, quantity, edges FROM {database}.baselines_raw FINAL WHERE notEmpty(edges)
) AS b ON w.layout = b.baseline_id AND w.quantity = b.quantity
COMMENT 'numeric quantities per window: count, nulls, moments, quantiles, histogram';

CREATE OR REPLACE VIEW {database}.drift AS
SELECT
    w.family AS family, w.model AS model, w.model_version AS model_version, w.segment AS segment,
    w.quantity AS quantity, w.window_s AS window_s, w.start AS start, w.count AS count,
    b.baseline_id AS baseline_id,
    halcyon_psi(b.counts, halcyon_dense(w.bins, w.counts)) AS psi,
    halcyon_wasserstein(b.edges, b.counts, halcyon_dense(w.bins, w.counts)) AS wasserstein
FROM
(
    SELECT
        family, model, model_version, segment, quantity, window_s, start, count, bins, counts,
        start + toIntervalSecond(window_s) AS closed
    FROM {database}.windows
    WHERE layout != '' AND notEmpty(bins)
) AS w
-- The scope's own baseline that was in force when the window closed. A segment's bins are those of its whole's baseline,
-- and its own baseline is counted in the same bins.
ASOF JOIN
(
    SELECT family, model, model_version, segment, quantity, baseline_id, effective_from_ms, edges, counts
    FROM {database}.baselines_raw FINAL
    WHERE notEmpty(edges)
) AS b
    ON w.family = b.family AND w.model = b.model AND w.model_version = b.model_version AND w.segment = b.segment
    AND w.quantity = b.quantity AND w.closed > b.effective_from_ms
COMMENT 'PSI and Wasserstein distance of each window from its baseline';

CREATE OR REPLACE VIEW {database}.categories AS
SELECT
    family, model, model_version, segment, quantity, counter, window_s, start, rows,
    cell.1 AS value, cell.2 AS count,
    if(rows = 0, NULL, count / rows) AS ratio
FROM
(
    SELECT
        family, model, model_version, segment, quantity, counter, window_s, start_ms AS start,
        sum(c.rows) AS rows,
        groupArray(c.values) AS part_values,
        groupArray(c.counts) AS part_counts,
        if(count() = 1, (part_values[1], part_counts[1]), arrayReduce('sumMap', part_values, part_counts)) AS cells
    FROM {database}.categories_raw AS c FINAL
    GROUP BY family, model, model_version, segment, quantity, counter, window_s, start_ms
    SETTINGS optimize_aggregation_in_order = 1
)
ARRAY JOIN arrayZip(cells.1, cells.2) AS cell
COMMENT 'how often each value of a categorical quantity or counter came, per window';

CREATE OR REPLACE VIEW {database}.errors AS
SELECT
    family, model, model_version, segment, window_s, start_ms AS start,
    sum(c.rows) AS rows,
    sum(arraySum((value, n) -> if(value = 'ok', 0, n), c.values, c.counts)) AS errors,
    if(rows = 0, NULL, errors / rows) AS error_ratio
FROM {database}.categories_raw AS c FINAL
WHERE quantity = 'status' AND counter
GROUP BY family, model, model_version, segment, window_s, start_ms
COMMENT 'events and errors per scope and window';

CREATE OR REPLACE VIEW {database}.scores AS
SELECT
    family, model, model_version, segment, quantity, detector, window_s, start_ms AS start,
    score, value, baseline, threshold, noise, p_value, rows, firing, baseline_id
FROM {database}.scores_raw FINAL
COMMENT 'what detectors computed, per quantity and window';

CREATE OR REPLACE VIEW {database}.findings AS
SELECT
    id, family, model, model_version, segment, quantity, detector, kind, window_s, start_ms AS start, since_ms AS since,
    firing, severity, score, value, baseline, threshold, unit, rows, confidence, summary, baseline_id
FROM {database}.findings_raw FINAL
COMMENT 'windows in which a detector held something to be wrong';

CREATE OR REPLACE VIEW {database}.alert_history AS
SELECT
    id, version AS sequence, fingerprint, status, severity, starts_ms AS starts,
    if(status = 'resolved', ends_ms, NULL) AS ends, updated_ms AS updated,
    family, model, model_version, segment, kind, summary, description, labels, body
FROM {database}.alerts_raw FINAL
COMMENT 'every event of every alert';

CREATE OR REPLACE VIEW {database}.alerts AS
SELECT * FROM {database}.alert_history
ORDER BY sequence DESC, updated DESC
LIMIT 1 BY id
COMMENT 'the last event of each alert: what is so now';

CREATE OR REPLACE VIEW {database}.baselines AS
SELECT
    baseline_id, family, model, model_version, segment, quantity, effective_from_ms AS effective_from, built_from, rows,
    count, mean, if(count < 2, NULL, sqrt(m2 / (count - 1))) AS stddev, min, max, p50, p95, p99, m2,
    edges, counts, values, value_counts
FROM {database}.baselines_raw FINAL
COMMENT 'what windows are compared with, per quantity';
