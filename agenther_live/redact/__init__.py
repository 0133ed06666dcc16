"""Redaction: secrets and personal data out, before anything is written."""

from agenther_live.redact.redactor import PLACEHOLDER, Redactor, key_is_there, load_key

__all__ = ["PLACEHOLDER", "Redactor", "key_is_there", "load_key"]
