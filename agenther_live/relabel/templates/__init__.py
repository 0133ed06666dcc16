"""Goals by rules: what was done and found, put into words."""
