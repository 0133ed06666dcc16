"""Write the golden shards anew. Only for a new schema version: `python -m tests.shards.regold`."""

from __future__ import annotations

from tests.shards.test_formats import FORMATS, GOLDEN, golden_rows

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for fmt in FORMATS:
        (GOLDEN / f"{fmt}.jsonl").write_bytes(b"".join(golden_rows(fmt)))
