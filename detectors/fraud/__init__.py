"""Rows that look like nothing the baseline has seen."""
