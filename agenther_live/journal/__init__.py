"""The journal: append-only segments that agent processes write and ingest follows.

`Writer` (one per process and folder) appends facts; `Reader` turns segments back into runs. The same pair keeps the
store of model replies, whose records belong to no run and so are all delivered loose.
"""

from agenther_live.journal.framing import decode_line, encode_line, scan
from agenther_live.journal.reader import Batch, Cursor, Lag, Reader, RunFacts
from agenther_live.journal.writer import Writer

__all__ = ["Batch", "Cursor", "Lag", "Reader", "RunFacts", "Writer", "decode_line", "encode_line", "scan"]
