"""The command line: verbs, each a few lines over the Python API (`verbs`); here is only how it begins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from agenther_live.cli import interrupts

if TYPE_CHECKING:
    from agenther_live.cli.verbs import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; a user's mistake gives a message and an exit code, never a traceback."""
    try:
        interrupts.let_interrupts_through()
        from agenther_live.cli import verbs

        verbs.main()
    except KeyboardInterrupt:  # Ctrl-C while it still loads, or between two things that are guarded
        interrupts.over()
        sys.exit(130)
    except Exception as error:
        if not interrupts.is_behind(error):
            raise
        interrupts.over()
        sys.exit(130)


def __getattr__(name: str) -> Any:
    if name == "app":
        from agenther_live.cli.verbs import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
