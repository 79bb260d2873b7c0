"""Histograms that merge exactly: logarithmic buckets for anything, a baseline's quantile bins for what has one."""
