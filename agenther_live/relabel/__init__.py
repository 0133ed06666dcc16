"""From a failed trajectory to a hindsight goal it did reach, in four stages of pure functions."""
