"""The replay buffer: one schema for DuckDB and PostgreSQL, and the public SQL over it."""
