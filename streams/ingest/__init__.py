"""Stage 1: raw events become panes, mergeable partial sums of one scope, one pane of event time, one partition."""
