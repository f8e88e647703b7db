"""From the user's folders to batches of pixels."""
