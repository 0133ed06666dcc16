"""The closed loop's study (examples/continual_loop) as a benchmark: tables on the screen, everything as JSON.

    python benchmarks/loop.py --json loop.json
    python benchmarks/loop.py --small --json loop.json

It needs the extra `trainers`, and leaves itself out where that is not installed.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too


def main() -> int:
    if find_spec("trl") is None:
        print("the closed loop is left out: pip install 'agenther-live[trainers]'", file=sys.stderr)
        return 0
    from examples.continual_loop.runner import main as study

    return study("python benchmarks/loop.py")


if __name__ == "__main__":
    sys.exit(main())
