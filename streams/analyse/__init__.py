"""Stage 2: panes become windows, windows become rows, scores and findings."""
