"""`python -m examples.continual_loop`."""

import sys

from examples.continual_loop.runner import main

if __name__ == "__main__":
    sys.exit(main("python -m examples.continual_loop"))
