-- What is missing, and what came twice. Rows of quantities that are wholly null have count 0, no layout and no bins.

CREATE TABLE IF NOT EXISTS {database}.ids_raw
(
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    window_s UInt32 CODEC(ZSTD(1)),
    start_ms DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the window, event time',
    part Int32 CODEC(ZSTD(1)) COMMENT '-1: as closed; else which pane, of which source partition, came after the close',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'of rows with the same key the highest counts',
    rows UInt64 CODEC(ZSTD(1)) COMMENT 'events of the scope in the window',
    events UInt64 CODEC(ZSTD(1)) COMMENT 'those with an event id',
    sampled UInt64 CODEC(ZSTD(1)) COMMENT 'distinct ids looked at: those of lowest hash',
    repeated UInt64 CODEC(ZSTD(1)) COMMENT 'those of them that came more than once',
    sampled_events UInt64 CODEC(ZSTD(1)) COMMENT 'how often they came together',
    inserted_at DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (window_s, toYYYYMM(start_ms))
ORDER BY (family, model, model_version, segment, window_s, start_ms, part)
TTL inserted_at + toIntervalDay(multiIf(window_s < 60, 7, window_s < 300, 30, window_s < 3600, 90, 400))
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per model, window and part: how often event ids repeat, from a sample of the ids';

CREATE OR REPLACE VIEW {database}.duplicates AS
SELECT
    family, model, model_version, segment, window_s, start_ms AS start,
    sum(i.rows) AS rows, sum(i.events) AS events,
    sum(i.sampled) AS sampled, sum(i.repeated) AS repeated, sum(i.sampled_events) AS sampled_events,
    if(sampled = 0, NULL, repeated / sampled) AS repeated_ratio,
    if(sampled = 0, NULL, sqrt(repeated_ratio * (1 - repeated_ratio) / sampled)) AS repeated_ratio_error,
    if(sampled_events = 0, NULL, 1 - sampled / sampled_events) AS duplicate_ratio,
    if(sampled_events = 0, NULL, events * duplicate_ratio) AS duplicates
FROM {database}.ids_raw AS i FINAL
GROUP BY family, model, model_version, segment, window_s, start_ms
COMMENT 'share of event ids that came more than once, and an estimate of the events that are too many, per window';

CREATE OR REPLACE VIEW {database}.completeness AS
SELECT
    family, model, model_version, segment, quantity, window_s, start_ms AS start,
    max(p.rows) AS rows, max(p.numbers) AS numbers, max(p.texts) AS texts,
    greatest(toInt64(rows) - toInt64(numbers) - toInt64(texts), 0) AS nulls,
    if(rows = 0, NULL, nulls / rows) AS null_ratio,
    if(numbers + texts = 0, NULL, texts / (numbers + texts)) AS text_ratio
FROM
(
    SELECT
        family, model, model_version, segment, quantity, window_s, start_ms,
        sum(n.rows) AS rows, sum(n.count) AS numbers, 0 AS texts
    FROM {database}.numerics_raw AS n FINAL
    GROUP BY family, model, model_version, segment, quantity, window_s, start_ms
    UNION ALL
    SELECT
        family, model, model_version, segment, quantity, window_s, start_ms,
        sum(c.rows) AS rows, 0 AS numbers, sum(arraySum(c.counts)) AS texts
    FROM {database}.categories_raw AS c FINAL
    WHERE NOT counter
    GROUP BY family, model, model_version, segment, quantity, window_s, start_ms
) AS p
GROUP BY family, model, model_version, segment, quantity, window_s, start_ms
COMMENT 'how many events had a number, a text or nothing for a quantity, per window';

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
        anyIf(n.layout, n.count > 0) AS layout,
        -- Bins of two layouts cannot be added; counts and moments can. A part without a value has no layout.
        minIf(n.layout, n.count > 0) != maxIf(n.layout, n.count > 0) AS mixed,
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
