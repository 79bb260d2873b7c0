"""Whether events come, are whole, and succeed."""
