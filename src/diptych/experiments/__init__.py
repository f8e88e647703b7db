"""Several trainings, and what they say together."""
