"""What the user's folders and tables say."""
