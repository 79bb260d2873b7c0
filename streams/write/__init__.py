"""The write stage: rows from Kafka into ClickHouse, and nothing committed before ClickHouse has acknowledged it."""
