"""Where results go: ClickHouse, and nothing else speaks its protocol."""
