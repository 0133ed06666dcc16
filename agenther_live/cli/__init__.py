"""The command line: verbs, each a few lines over the Python API."""

from agenther_live.cli import intake, work, look, shards, following, trust, buffer, upkeep  # isort: skip  (the order of --help)
from agenther_live.cli.app import app, main

__all__ = ["app", "buffer", "following", "intake", "look", "main", "shards", "trust", "upkeep", "work"]
