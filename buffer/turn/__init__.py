"""The worker's turn: what is settled, claimed, relabeled and recorded."""
