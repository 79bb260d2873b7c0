"""What the hour of the day and the day of the week lead to expect."""
