"""Drift of features, scores and categories away from the baseline, and sudden change."""
