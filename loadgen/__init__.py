"""Load with a known truth: synthetic models, faults on a timeline, real traces, and how what was seen scores."""
