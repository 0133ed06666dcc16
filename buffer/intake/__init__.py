"""The way in: runs become trajectories, and what is said about them is bound to them."""
