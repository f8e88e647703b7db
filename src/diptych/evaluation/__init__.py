"""From a trained run to figures, predictions and plots."""
