"""From bytes to uint8 pixels, once."""
