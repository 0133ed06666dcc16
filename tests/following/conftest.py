"""Places in object stores that really are there."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

S3_OPTIONS = {"key": "test", "secret": "test"}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket's URL on a server of its own, and where the server is."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(request) -> tuple[str, dict[str, Any]]:
    """An empty place in a store: its URL and options."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    if request.param == "memory":
        return f"memory://{name}/shards", {}
    import s3fs

    options = {**S3_OPTIONS, "endpoint_url": request.getfixturevalue("s3")}
    s3fs.S3FileSystem(**options).mkdir(name)
    return f"s3://{name}/shards", options
