"""Rows as Hugging Face data sets: streaming, or finite for one round. The one place that knows of `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agenther_live.errors import UsageError
from agenther_live.settings import ShardFormat
from agenther_live.shards.rows.formats import DIALECTS

if TYPE_CHECKING:
    import datasets

__all__ = ["features", "finite_dataset", "iterable_dataset"]

_PLAIN = {str: "string", int: "int64", float: "float64", bool: "bool"}


class _Rows:
    """What an `IterableDataset` calls for its rows. A copy that reached another process says that it cannot serve."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]) -> None:
        self._rows: Iterable[Mapping[str, Any]] | None = rows
        self._columns = columns

    def __call__(self) -> Iterator[dict[str, Any]]:
        if self._rows is None:
            raise UsageError(
                "this data set is read in the process that made its ShardStream, where the cursor lives: use a "
                "DataLoader with num_workers=0"
            )
        for row in self._rows:
            yield {name: row.get(name) for name in self._columns}

    def __getstate__(self) -> dict[str, Any]:
        return {"_rows": None, "_columns": self._columns}

    def __deepcopy__(self, memo: object) -> _Rows:
        return self


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise UsageError(
            "Hugging Face `datasets` is not installed: pip install 'agenther-live[trainers]'; "
            "ShardStream.rows() and take_rows() do without"
        ) from None
    return datasets


def features(fmt: ShardFormat) -> datasets.Features:
    """Give the columns of a format, the same for every shard of it: lists of messages are JSON objects.

    Raises:
        UsageError: `datasets` is not installed.
    """
    library = _datasets()
    made: dict[str, Any] = {}
    for name, kind in DIALECTS[fmt].columns.items():
        if kind is list:  # of flags, of weights, or of objects that differ in their keys
            plain = "bool" if name.endswith("train") else "float64" if name.endswith("weights") else None
            made[name] = library.List(library.Value(plain) if plain else library.Json())
        else:
            made[name] = library.Value(_PLAIN[kind]) if kind in _PLAIN else library.Json()
    return library.Features(made)


def iterable_dataset(rows: Iterable[Mapping[str, Any]], fmt: ShardFormat) -> datasets.IterableDataset:
    """Make a streaming data set of rows that are given one by one.

    Raises:
        UsageError: `datasets` is not installed.
    """
    columns = tuple(DIALECTS[fmt].columns)
    return _datasets().IterableDataset.from_generator(_Rows(rows, columns), features=features(fmt))


def finite_dataset(fmt: ShardFormat, rows: list[dict[str, Any]]) -> datasets.Dataset:
    """Make a data set of these rows.

    Raises:
        UsageError: `datasets` is not installed.
    """
    table = {name: [row.get(name) for row in rows] for name in DIALECTS[fmt].columns}
    return _datasets().Dataset.from_dict(table, features=features(fmt))
