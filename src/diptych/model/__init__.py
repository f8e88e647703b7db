"""The dual model: two branches, attention on each, one head."""
