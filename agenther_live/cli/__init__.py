"""The command line: verbs, each a few lines over the Python API."""

from agenther_live.cli import intake, work, look, shards  # isort: skip  (the order of --help)
from agenther_live.cli.app import app, main

__all__ = ["app", "intake", "look", "main", "shards", "work"]
