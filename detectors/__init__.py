"""The mathematics: histograms, baselines, detectors, decisions. Pure: arrays in, arrays out; no I/O, no clock."""
