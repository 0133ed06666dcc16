"""`python -m agenther_live`: the command line, where its script is not on the path."""

from agenther_live.cli import main

if __name__ == "__main__":
    main()
