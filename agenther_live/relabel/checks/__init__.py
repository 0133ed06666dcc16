"""What code can refute: goals and answers held against what calls and results say."""
