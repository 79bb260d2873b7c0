"""Latency against the baseline, and against a limit."""
