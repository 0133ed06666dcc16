"""All verbs, in the order of `--help`.

A verb imports what it needs where it needs it: `--help`, and a look at the shards, do not wait for the worker's parts.
"""

from agenther_live.cli import intake, work, look, shards, following, trust, buffer, upkeep  # isort: skip  (the order of --help)
from agenther_live.cli.root import app, main

__all__ = ["app", "buffer", "following", "intake", "look", "main", "shards", "trust", "upkeep", "work"]
