-- Raw tables. Every row is an absolute value under its key; the row of highest version counts, so a replay changes
-- nothing. Read them through the views (0003), which hide FINAL and add the parts of a window up.
--
-- Rows expire by the time they were written, not by event time: data of years ago can be replayed and queried.
-- non_replicated_deduplication_window makes a retried insert (same token) a no-op instead of rows to merge away.

CREATE TABLE IF NOT EXISTS {database}.volumes_raw
(
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    window_s UInt32 CODEC(ZSTD(1)),
    start_ms DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the window, event time',
    part Int32 CODEC(ZSTD(1)) COMMENT '-1: as closed; else which pane, of which source partition, came after the close',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'of rows with the same key the highest counts',
    rows UInt64 CODEC(ZSTD(1)) COMMENT 'events',
    late UInt64 CODEC(ZSTD(1)) COMMENT 'events that arrived behind the watermark',
    inserted_at DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (window_s, toYYYYMM(start_ms))
ORDER BY (family, model, model_version, segment, window_s, start_ms, part)
TTL inserted_at + toIntervalDay(multiIf(window_s < 60, 7, window_s < 300, 30, window_s < 3600, 90, 400))
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per scope, window and part: how many events, how many late';

CREATE TABLE IF NOT EXISTS {database}.numerics_raw
(
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    quantity LowCardinality(String),
    window_s UInt32 CODEC(ZSTD(1)),
    start_ms DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the window, event time',
    part Int32 CODEC(ZSTD(1)) COMMENT '-1: as closed; else which pane, of which source partition, came after the close',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'of rows with the same key the highest counts',
    rows UInt64 CODEC(ZSTD(1)) COMMENT 'events of the scope in the window',
    count UInt64 CODEC(ZSTD(1)) COMMENT 'events with a value; nulls are rows - count',
    mean Float64 CODEC(ZSTD(1)),
    m2 Float64 CODEC(ZSTD(1)) COMMENT 'sum of squared deviations from the mean',
    min Float64 CODEC(ZSTD(1)) COMMENT 'NaN where count is 0',
    max Float64 CODEC(ZSTD(1)) COMMENT 'NaN where count is 0',
    layout LowCardinality(String) COMMENT 'empty: LogHistogram; else the baseline whose edges the bins are',
    bins Array(Int16) CODEC(ZSTD(1)) COMMENT 'histogram cells, ascending',
    counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'events per cell',
    inserted_at DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (window_s, toYYYYMM(start_ms))
ORDER BY (family, model, model_version, segment, quantity, window_s, start_ms, part)
TTL inserted_at + toIntervalDay(multiIf(window_s < 60, 7, window_s < 300, 30, window_s < 3600, 90, 400))
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per numeric quantity, window and part';

CREATE TABLE IF NOT EXISTS {database}.categories_raw
(
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    quantity LowCardinality(String),
    counter Bool COMMENT 'true: status, decision, xid, ...; false: a categorical feature',
    window_s UInt32 CODEC(ZSTD(1)),
    start_ms DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the window, event time',
    part Int32 CODEC(ZSTD(1)) COMMENT '-1: as closed; else which pane, of which source partition, came after the close',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'of rows with the same key the highest counts',
    rows UInt64 CODEC(ZSTD(1)) COMMENT 'events of the scope in the window',
    values Array(String) CODEC(ZSTD(1)),
    counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'events per value',
    inserted_at DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (window_s, toYYYYMM(start_ms))
ORDER BY (family, model, model_version, segment, quantity, counter, window_s, start_ms, part)
TTL inserted_at + toIntervalDay(multiIf(window_s < 60, 7, window_s < 300, 30, window_s < 3600, 90, 400))
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per categorical quantity or counter, window and part';

CREATE TABLE IF NOT EXISTS {database}.scores_raw
(
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    quantity LowCardinality(String),
    detector LowCardinality(String),
    window_s UInt32 CODEC(ZSTD(1)),
    start_ms DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the window, event time',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'of rows with the same key the highest counts',
    score Float64 CODEC(ZSTD(1)) COMMENT 'higher is worse',
    value Float64 CODEC(ZSTD(1)),
    baseline Float64 CODEC(ZSTD(1)),
    threshold Float64 CODEC(ZSTD(1)),
    noise Float64 CODEC(ZSTD(1)) COMMENT 'score that sampling alone explains at this volume',
    p_value Float64 CODEC(ZSTD(1)) COMMENT 'NaN where the detector has none',
    rows UInt64 CODEC(ZSTD(1)) COMMENT 'events behind the value',
    firing Bool,
    baseline_id LowCardinality(String),
    inserted_at DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (window_s, toYYYYMM(start_ms))
ORDER BY (family, model, model_version, segment, quantity, detector, window_s, start_ms)
TTL inserted_at + toIntervalDay(multiIf(window_s < 60, 7, window_s < 300, 30, window_s < 3600, 90, 400))
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per detector, quantity and window in which the detector was ready';

CREATE TABLE IF NOT EXISTS {database}.findings_raw
(
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    quantity LowCardinality(String),
    detector LowCardinality(String),
    kind LowCardinality(String),
    window_s UInt32 CODEC(ZSTD(1)),
    start_ms DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'start of the window, event time',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'of rows with the same key the highest counts',
    id String CODEC(ZSTD(1)),
    firing Bool,
    severity LowCardinality(String),
    score Float64 CODEC(ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    baseline Float64 CODEC(ZSTD(1)),
    threshold Float64 CODEC(ZSTD(1)),
    unit LowCardinality(String),
    rows UInt64 CODEC(ZSTD(1)),
    confidence Float64 CODEC(ZSTD(1)) COMMENT '0 to 1',
    since_ms DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'start of the first window of this run',
    summary String CODEC(ZSTD(3)),
    baseline_id LowCardinality(String),
    inserted_at DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(start_ms)
ORDER BY (family, model, model_version, segment, quantity, detector, kind, window_s, start_ms, id)
TTL inserted_at + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per finding: a window in which a condition held, and the one in which it ended';

CREATE TABLE IF NOT EXISTS {database}.alerts_raw
(
    id String CODEC(ZSTD(1)) COMMENT 'one episode of a fingerprint, the same in every replay',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'which event of the episode',
    fingerprint String CODEC(ZSTD(1)),
    status LowCardinality(String),
    severity LowCardinality(String),
    starts_ms DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ends_ms Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'null or 1970 until it has resolved',
    updated_ms DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'event time of this event',
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    kind LowCardinality(String),
    summary String CODEC(ZSTD(3)),
    description String CODEC(ZSTD(3)),
    labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    body String CODEC(ZSTD(3)) COMMENT 'the whole message, JSON',
    inserted_at DateTime DEFAULT now() CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(starts_ms)
ORDER BY (fingerprint, id, version)
TTL inserted_at + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per alert event: a firing, an update, a resolve';

CREATE TABLE IF NOT EXISTS {database}.baselines_raw
(
    baseline_id LowCardinality(String),
    family LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    segment LowCardinality(String),
    quantity LowCardinality(String),
    version UInt64 CODEC(ZSTD(1)) COMMENT 'of rows with the same key the highest counts',
    effective_from_ms DateTime64(3, 'UTC') COMMENT 'start of the first pane that is compared with it',
    built_from String CODEC(ZSTD(1)),
    rows UInt64 CODEC(ZSTD(1)) COMMENT 'events behind the baseline',
    count UInt64 CODEC(ZSTD(1)),
    mean Float64,
    m2 Float64,
    min Float64,
    max Float64,
    p50 Float64,
    p95 Float64,
    p99 Float64,
    edges Array(Float64) CODEC(ZSTD(1)) COMMENT '33 edges of 32 bins, or empty',
    counts Array(UInt64) CODEC(ZSTD(1)) COMMENT '34 cells: under, the bins, over; or empty',
    values Array(String) CODEC(ZSTD(1)) COMMENT 'categories, or empty',
    value_counts Array(UInt64) CODEC(ZSTD(1)),
    inserted_at DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (baseline_id, family, model, model_version, segment, quantity, empty(values))
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row per quantity of a baseline: what windows are compared with';
