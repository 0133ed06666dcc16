"""A user's SQL: what may run, what comes back, and errors that help."""

from __future__ import annotations

import difflib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from agenther_live.errors import QueryError

__all__ = ["RESULT_BYTES", "Result", "check_names", "explain", "too_large", "whole_numbers"]

SHOWN_ROWS = 40
RESULT_BYTES = 512 << 20
"""What one result may take in memory, as Arrow."""


def too_large(rows: int, size: int) -> QueryError:
    """Say that a result of so many rows and bytes so far is more than `RESULT_BYTES`."""
    return QueryError(
        f"stopped at {rows:,} rows of {size >> 20:,} MB: narrow it by WHERE or LIMIT, or take a copy "
        "(agenther-live snapshot FILE) and ask that"
    )


@dataclass(frozen=True)
class Result:
    """The rows of a query, held in memory; the buffer's file is closed again."""

    table: pa.Table

    @property
    def columns(self) -> list[str]:
        """The columns' names, in order."""
        return list(self.table.column_names)

    def __len__(self) -> int:
        """Count the rows."""
        return int(self.table.num_rows)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Give the rows as tuples of Python values."""
        columns = [[_plain(value) for value in column.to_pylist()] for column in self.table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    def dicts(self) -> list[dict[str, Any]]:
        """Give the rows as dicts. Of columns with one name, the last one counts."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.fetchall()]

    def arrow(self) -> pa.Table:
        """Give the rows as a PyArrow table."""
        return self.table

    def df(self) -> Any:
        """Give the rows as a `pandas.DataFrame`.

        Raises:
            QueryError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise QueryError("pandas is not installed: pip install 'agenther-live[pandas]'")
        return self.table.to_pandas()

    def pl(self) -> Any:
        """Give the rows as a `polars.DataFrame`.

        Raises:
            QueryError: Polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise QueryError("polars is not installed: pip install 'agenther-live[polars]'") from None
        return polars.from_arrow(self.table)

    def csv(self) -> bytes:
        """Give the rows as CSV with a header; text is quoted, null is empty, what is nested stands as JSON."""
        from pyarrow import csv

        columns = [_flat(column) for column in self.table.columns]
        buffer = io.BytesIO()
        csv.write_csv(pa.table(columns, names=self.columns), buffer)
        return buffer.getvalue()

    def parquet(self, path: str | Path) -> None:
        """Write the rows into a Parquet file, over one that is there; intervals, which it has not, as text."""
        from pyarrow import parquet

        columns = [_flat(column) if pa.types.is_interval(column.type) else column for column in self.table.columns]
        parquet.write_table(pa.table(columns, names=self.columns), Path(path))

    def show(self, max_rows: int = SHOWN_ROWS) -> None:
        """Print the rows as a table; of more than `max_rows`, the first and last."""
        import duckdb

        with duckdb.connect(":memory:") as connection:
            connection.from_arrow(self.table).show(max_rows=max_rows)


def _flat(column: Any) -> Any:
    """Give a column as CSV can hold it: what is nested or has no form there becomes text."""
    kind, t = column.type, pa.types
    if t.is_nested(kind):
        texts = [None if v is None else json.dumps(v, default=str, ensure_ascii=False) for v in column.to_pylist()]
    elif t.is_string(kind) or t.is_decimal(kind) or (t.is_primitive(kind) and not t.is_interval(kind)):
        return column
    else:
        texts = [None if v is None else str(v) for v in column.to_pylist()]
    return pa.array(texts, pa.string())


def _plain(value: Any) -> Any:
    # DuckDB sums integers into 128 bits, which Arrow can only carry as a decimal without fraction.
    if isinstance(value, Decimal) and value == value.to_integral_value() and value.as_tuple().exponent == 0:
        return int(value)
    return value


def whole_numbers(table: pa.Table) -> pa.Table:
    """Turn decimals without fraction into 64-bit integers where every value fits."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                column = table.column(index).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(index, field.name, column)
    return table


_FILE = re.compile(r"[./\\\\]")  # no view has such a name
_BY_NAME = frozenset({"query", "query_table"})
_ROWS_OF = """
duckdb_columns duckdb_constraints duckdb_databases duckdb_extensions duckdb_functions duckdb_indexes duckdb_keywords
duckdb_memory duckdb_schemas duckdb_settings duckdb_tables duckdb_types duckdb_views
generate_series histogram histogram_values icu_calendar_names json_each json_tree pg_timezone_names
pragma_database_size pragma_platform pragma_show pragma_table_info pragma_version range repeat repeat_row summary unnest
"""
"""Functions that may stand after FROM. DuckDB lets SQL read the very file that it has open, private tables and all, and
who closes that file a second time gives up the lock on it: so what reads files is refused here, not there."""


def check_names(parsed: Any, *, private: str) -> None:
    """Refuse a parsed statement (`json_serialize_sql`) that names a table of the private schema, or a file.

    Raises:
        QueryError: it does, or it is of a form whose names cannot be told.
    """
    if isinstance(parsed, dict) and parsed.get("error"):
        raise QueryError(f"this form of SQL is refused: {_tidy(str(parsed.get('error_message', '')))}")
    todo = [parsed]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            todo.extend(node.values())
            if str(node.get("schema_name", "")).lower() == private and node.get("table_name"):
                raise QueryError(
                    f"{private}.{node['table_name']} is a private table, which may change with any version: "
                    "use the views (SHOW TABLES lists them)"
                )
            if node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in _BY_NAME:
                raise QueryError(f"{node['function_name']}() is refused: name the views themselves")
            if node.get("type") == "TABLE_FUNCTION":
                name = str(node["function"].get("function_name", "")).lower()
                if name not in _ROWS_OF.split() and name not in _BY_NAME:
                    raise QueryError(f"{name}() is refused: SQL here only reads the views")
            elif node.get("type") == "BASE_TABLE" and _FILE.search(str(node.get("table_name", ""))):
                raise QueryError(f"{node['table_name']} is refused: SQL here reads no files, only the views")


_MISSING = (
    re.compile(r"[Cc]olumn \"(?P<name>[^\"]+)\" not found"),
    re.compile(r"does not have a column named \"(?P<name>[^\"]+)\""),
    re.compile(r"Table with name (?P<name>\S+) does not exist"),
    re.compile(r"(?:[Cc]olumn|relation) \"(?P<name>[^\"]+)\" does not exist"),
    re.compile(r"column (?P<name>[\w.]+) does not exist"),
)


def explain(message: str, catalog: Iterable[tuple[str, str]], query: str) -> QueryError:
    """Make the error that a user sees of a database's message.

    `catalog` holds the public (view, column) pairs; the nearest name to a missing one is added as a hint, of a view
    that the query names if there is one.
    """
    text = _tidy(message)
    for pattern in _MISSING:
        found = pattern.search(message)
        if found:
            known = list(catalog)
            if "able with name" in found[0] or "relation" in found[0]:
                hint = _nearest_view(found["name"], known)
            else:
                hint = _nearest_column(found["name"], known, query)
            return QueryError(f"{text} ({hint})")
    return QueryError(text)


def _tidy(message: str) -> str:
    """Keep the first line of the database's message: what follows is its own guess and a copy of the query."""
    first = message.strip().splitlines()[0] if message.strip() else "the query cannot be run"
    return re.sub(r"^(?:Binder|Catalog|Parser|Permission|Invalid Input|Conversion|Not implemented) Error: ", "", first)


def _nearest_view(name: str, catalog: Sequence[tuple[str, str]]) -> str:
    views = sorted({view for view, _ in catalog})
    near = difflib.get_close_matches(name.lower(), views, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"views: {', '.join(views)}"


def _nearest_column(name: str, catalog: Sequence[tuple[str, str]], query: str) -> str:
    short = name.rsplit(".", 1)[-1].lower()
    words = set(re.findall(r"\w+", query.lower()))
    asked = [(view, column) for view, column in catalog if view in words]
    for known in (asked, catalog):
        if near := difflib.get_close_matches(short, sorted({column for _, column in known}), n=1, cutoff=0.5):
            owners = [view for view, column in known if column == near[0]]
            return f"did you mean {near[0]}, of {', '.join(owners)}?"
        if len(views := {view for view, _ in known}) == 1:
            return f"columns of {views.pop()}: {', '.join(column for _, column in known)}"
    return "DESCRIBE <view> lists a view's columns"
