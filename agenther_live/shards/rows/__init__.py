"""Rows: from one canonical sample to the dialect of each trainer."""
