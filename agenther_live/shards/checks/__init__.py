"""Checks of rows, files and a whole folder; written against what trainers read."""
