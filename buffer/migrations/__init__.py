"""Alembic migrations of the buffer's schema."""
