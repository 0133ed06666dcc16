"""Capture on real graphs: every shape gives exactly one correct trajectory."""
