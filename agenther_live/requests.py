"""Requests to the worker of a home, as files: what only it may do while it runs, and its answers.

`requests/ID.json` holds a request for its owner's eyes only; the worker answers in `requests/ID.done.json` and removes
the request. Whoever asked removes the answer.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from agenther_live.errors import AgentHERError, HomeError
from agenther_live.home import Home
from agenther_live.ids import uuid7

__all__ = ["answer", "ask", "waiting"]

_POLL_SECONDS = 0.1
_DONE = ".done.json"
_STALE_SECONDS = 86_400.0  # nobody waits for an answer that long


def ask(home: Home, request: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
    """Leave a request for the worker and wait for its answer.

    Raises:
        HomeError: the home cannot be written.
        AgentHERError: the worker refused, or did not come to it in time (it will).
    """
    folder = _folder(home)
    name = uuid7()
    done = folder / f"{name}{_DONE}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        home.note(folder / f"{name}.json", orjson.dumps(dict(request)))
    except OSError as error:
        raise HomeError(f"{folder} cannot be written: {error.strerror or error}") from None
    deadline = time.monotonic() + seconds
    while not done.exists():
        if time.monotonic() >= deadline:
            raise AgentHERError(
                f"the worker of {home.path} has not come to it in {seconds:g} s; it will at its next tick, and the "
                "view `audit` will say so"
            )
        time.sleep(_POLL_SECONDS)
    told: dict[str, Any] = orjson.loads(done.read_bytes())
    done.unlink(missing_ok=True)
    if "error" in told:
        raise AgentHERError(str(told["error"]))
    return told


def waiting(home: Home) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give the requests that wait, oldest first, for the worker; costs one look at the folder."""
    try:
        paths = sorted(_folder(home).glob("*.json"))
    except OSError:
        return
    for path in paths:
        if path.name.endswith(_DONE):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
            continue
        try:
            request = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        yield path, request if isinstance(request, dict) else {}  # whoever wrote something else is told so


def answer(home: Home, path: Path, work: Callable[[], Mapping[str, Any]]) -> None:
    """Do what a request asks, and leave the answer; what it raises is the answer too.

    Raises:
        HomeError: the answer cannot be written; the request stays, and is done again.
    """
    try:
        told: Mapping[str, Any] = work()
    except AgentHERError as error:
        told = {"error": str(error).encode("utf-8", "replace").decode()}  # a path in it need not be UTF-8
    try:
        home.note(path.with_name(path.name.removesuffix(".json") + _DONE), orjson.dumps(told))
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HomeError(f"{path.parent} cannot be written: {error.strerror or error}") from None


def _folder(home: Home) -> Path:
    return home.path / "requests"
