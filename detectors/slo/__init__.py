"""Service level objectives: what was promised, and how fast the errors that it allows are used up."""
