"""What texts, calls and rows say."""
