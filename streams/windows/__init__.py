"""Mergeable sums over spans of event time: what panes, windows and roll-ups are made of."""
