"""Whether judges can be believed, and goals differ."""
