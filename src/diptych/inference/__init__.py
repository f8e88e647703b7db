"""From pixels to an answer."""
