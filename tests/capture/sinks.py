"""Servers on loopback that take what other tracers send, and say what it was."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Sink:
    """The requests that a server took: (path, headers, body)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, Any, bytes]] = []

    def spans(self) -> Counter[str]:
        """Count the OTLP spans by name."""
        found: Counter[str] = Counter()
        for _, headers, body in self.requests:
            if "protobuf" not in (headers.get("content-type") or ""):
                continue
            request = ExportTraceServiceRequest.FromString(_unpacked(body, headers))
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    found.update(span.name for span in scope.spans)
        return found

    def runs(self) -> Counter[tuple[str, str, bool]]:
        """Count LangSmith's runs as (name, type, whether it ended); the client may merge an end into its start."""
        posted: dict[str, dict[str, Any]] = {}
        ended: set[str] = set()
        for path, headers, body in self.requests:
            if not path.endswith("/runs/multipart"):
                continue
            head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
            for part in BytesParser().parsebytes(head + _unpacked(body, headers)).get_payload():
                what, run_id, *field = part.get_param("name", header="content-disposition").split(".")
                if field or what not in ("post", "patch"):
                    continue
                run = json.loads(part.get_payload(decode=True))
                if what == "post":
                    assert run_id not in posted
                    posted[run_id] = run
                if run.get("end_time"):
                    ended.add(run_id)
        return Counter((run["name"], run["run_type"], run_id in ended) for run_id, run in posted.items())


def _unpacked(body: bytes, headers: Any) -> bytes:
    encoding = headers.get("content-encoding")
    return gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body) if encoding == "deflate" else body


@contextmanager
def sink() -> Iterator[Sink]:
    """Run a server that takes everything."""

    class Take(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
            taken.requests.append((self.path, self.headers, body))
            protobuf = "protobuf" in (self.headers.get("content-type") or "")
            answer = b"" if protobuf else b"{}"
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf" if protobuf else "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = _take

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    taken = Sink(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
