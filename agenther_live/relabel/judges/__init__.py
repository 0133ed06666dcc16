"""What is asked of models, and what their replies say."""
