"""The log of a verb: text, or JSON lines in which everything is JSON, whoever says it."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Any, TextIO

from agenther_live import render
from agenther_live.errors import SettingsError

__all__ = ["Stray", "log_as"]

_strays = logging.getLogger("agenther_live.strays")


class Stray(logging.Handler):
    """What other libraries log where nobody listens: their warnings and errors, on stderr.

    An interrupt is no error: what a library says of one as it passes it on is left out.
    """

    def __init__(self) -> None:
        """Warnings and worse."""
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, if there is somewhere to write to."""
        if record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt):
            return
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


def log_as(form: str) -> None:
    """Log to stderr, as text or as JSON lines.

    JSON lines are whole: also what other libraries log or warn of, and errors that nobody caught, in threads too.

    Raises:
        SettingsError: there is no such form.
    """
    if form not in ("text", "json"):
        raise SettingsError(f"--log-format = {form!r}: text or json")
    handler = logging.StreamHandler()
    handler.setFormatter(render.JsonFormatter() if form == "json" else logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("agenther_live")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    if form == "json":
        if logging.lastResort is not None:
            logging.lastResort.setFormatter(handler.formatter)
        sys.excepthook = _uncaught
        threading.excepthook = lambda lost: _uncaught(lost.exc_type, lost.exc_value, lost.exc_traceback)
        warnings.showwarning = _warned


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        _strays.error("uncaught: %s", error or kind.__name__, exc_info=(kind, error or kind(), trace))


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _strays.warning("%s: %s (%s, line %d)", category.__name__, message, filename, lineno)
