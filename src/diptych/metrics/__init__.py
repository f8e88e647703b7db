"""Numbers from targets and probabilities: no files, no Keras."""
