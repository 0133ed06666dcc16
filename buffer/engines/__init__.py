"""The engines: what the buffer asks of a database, and DuckDB's and PostgreSQL's answers."""
