"""The schema's revisions, one module each, oldest first."""
