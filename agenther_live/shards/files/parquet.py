"""Shards as Parquet files: the same rows as JSON lines, column by column.

What is nested (messages, tool schemas) has differing keys, for which Parquet has no type: it is kept as JSON text under
Arrow's own type `arrow.json`, with the schema beside it that `datasets` (5 or newer) reads, so that `load_dataset`
gives the objects back. Rows come out of a file exactly as the lines that went in.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from agenther_live.errors import ShardError
from agenther_live.settings import ShardFormat
from agenther_live.shards.rows.columns import compact
from agenther_live.shards.rows.formats import DIALECTS, encode

__all__ = ["from_parquet", "to_parquet"]

_PLAIN: Mapping[type, tuple[Any, str]] = {
    str: (pa.string(), "string"),
    int: (pa.int64(), "int64"),
    float: (pa.float64(), "float64"),
    bool: (pa.bool_(), "bool"),
}


def _items(name: str) -> type | None:
    """What a list column holds: flags, weights, or (None) objects."""
    return bool if name.endswith("train") else float if name.endswith("weights") else None


def _schema(fmt: ShardFormat) -> pa.Schema:
    fields: list[pa.Field] = []
    features: dict[str, dict[str, Any]] = {}
    for name, kind in DIALECTS[fmt].columns.items():
        if kind is not list:
            made, word = _PLAIN[kind]
            fields.append(pa.field(name, made))
            features[name] = {"dtype": word, "_type": "Value"}
            continue
        held = _items(name)
        made, feature = (
            (pa.json_(), {"_type": "Json"})
            if held is None
            else (
                _PLAIN[held][0],
                {"dtype": _PLAIN[held][1], "_type": "Value"},
            )
        )
        fields.append(pa.field(name, pa.list_(made)))
        features[name] = {"feature": feature, "_type": "List"}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def to_parquet(fmt: ShardFormat, lines: Iterable[bytes]) -> bytes:
    """Give the rows of one shard as a Parquet file; the same rows and library give the same bytes."""
    schema = _schema(fmt)
    rows = [orjson.loads(line) for line in lines]
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if pa.types.is_list(field.type) and field.type.value_type == pa.json_():
            texts = [[compact(item) for item in value] for value in values]
            columns.append(pa.array(texts, pa.list_(pa.string())).cast(field.type))
        else:
            columns.append(pa.array(values, field.type))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def from_parquet(fmt: ShardFormat, content: bytes) -> list[bytes]:
    """Give the rows of a Parquet shard as the lines that they were made of, newlines included.

    Raises:
        ShardError: it is no such file.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"no Parquet file of {fmt} rows: {error}") from None
    nested = [name for name, kind in DIALECTS[fmt].columns.items() if kind is list and _items(name) is None]
    if missing := sorted(set(nested) - set(table.column_names)):
        raise ShardError(f"a Parquet file without the column {missing[0]}")
    lines = []
    for row in table.to_pylist():
        lines.append(encode(row | {name: [orjson.loads(item) for item in row[name] or ()] for name in nested}))
    return lines
