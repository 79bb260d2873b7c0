"""Detectors of one plain series: (time, value) in, a score per row out; no baseline, no histogram, no scope."""
