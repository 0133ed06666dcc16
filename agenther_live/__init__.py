"""Hindsight experience replay, live, inside the loop of a running agent."""
