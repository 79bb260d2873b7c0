"""What is learned from labels: that they are overdue, and that they say something else than before."""
