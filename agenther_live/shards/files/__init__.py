"""Files: which rows go together, how they are published once, and what is published about them."""
