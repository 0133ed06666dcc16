"""The closed loop, run for real on two cores: see README.md, and `python -m examples.continual_loop --help`."""
