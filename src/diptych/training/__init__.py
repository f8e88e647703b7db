"""From a Config to a RunDir with a trained model in it."""
