"""The entities of a scenario: serving models, their labels, feature sets, and the GPUs that they run on."""
