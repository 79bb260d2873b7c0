"""Stage 3: findings become alerts with a life cycle, and are published exactly once."""
