"""Write `docs/sql.md`: every public view and column with its comment, and the questions of `examples/queries.sql`.

python -m agenther_live.buffer.docs examples/queries.sql > docs/sql.md
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agenther_live.buffer.store import Buffer
from agenther_live.buffer.views import views_sql
from agenther_live.settings import load_settings

__all__ = ["Question", "page", "questions"]

_HEAD = """# SQL over the replay buffer

*Written by `python -m agenther_live.buffer.docs examples/queries.sql`: change `buffer/views.sql` or
`examples/queries.sql`, not this page.*

```
agenther-live sql "select failure_type, count(*) from failures group by 1"
```

Three views to know first: `success_rates` (which policy version fails most), `failures` (on what), `sample_costs` (what
a usable sample costs). [Question 1](#questions) puts them together. Copy a question, and change what it asks.

- **Where.** On the command line as above, with `--json`, `--csv` or `--parquet FILE`. In Python
  `live.buffer.sql("…")` gives the rows: `.show()`, `.df()`, `.pl()`, `.arrow()`, `.dicts()`, `.fetchall()`. Both work
  while agents and worker run.
- **What.** One statement that only reads: SELECT, DESCRIBE, SUMMARIZE, EXPLAIN. No file, no network, at most
  `sql_seconds` (60) and 512 MB. The tables behind the views are private.
- **Dialect.** [DuckDB's](https://duckdb.org/docs/stable/sql/introduction). With the buffer on PostgreSQL it is
  PostgreSQL's, with DuckDB's `median`, `epoch` and `round` of a double. The questions below run on both.
- **Times** are naive UTC; their columns end in `_at`. A `day` is a UTC day.
- **Ids.** Nearly every view has `trajectory_id`. Goals and verdicts share `goal_id`, samples and shards `sample_id`,
  shards `seq`.
- **Beside SQL**: `agenther-live show ID` prints one trajectory, and `agenther-live snapshot FILE` makes a copy that any
  DuckDB can open.
"""


@dataclass(frozen=True)
class Question:
    """A question and the SQL that answers it."""

    text: str
    sql: str


def questions(script: str) -> list[Question]:
    """Read a script in which each statement stands below its question, a comment `-- 1. …?`."""
    parts = re.split(r"^-- \d+\. ", script, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        lines = part.strip().splitlines()
        end = next(index for index, line in enumerate(lines) if not line.startswith("--") and index)
        text = " ".join([lines[0], *(line.removeprefix("--").strip() for line in lines[1:end])])
        found.append(Question(text, "\n".join(lines[end:]).strip().removesuffix(";")))
    return found


def page(asked: Sequence[Question]) -> str:
    """Make the page, from a buffer made for it."""
    with tempfile.TemporaryDirectory() as folder:
        buffer = Buffer(Path(folder) / "buffer.duckdb", settings=load_settings(home=Path(folder)))
        with buffer.hold():
            views = dict(buffer.sql("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall())
            columns = buffer.sql(
                "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
                "WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index"
            ).fetchall()
    order = re.findall(r"^CREATE VIEW (\w+) AS", views_sql(), re.MULTILINE)
    lines = [_HEAD, "## Questions", ""]
    for number, question in enumerate(asked, 1):
        lines += [f"{number}. {question.text}", "", "```sql", question.sql, "```", ""]
    lines += ["## Views", ""]
    lines += _table(("view", "what it shows"), [(f"[{name}](#{name})", views[name]) for name in order])
    for name in order:
        rows = [(f"`{column}`", kind.lower(), comment) for view, column, kind, comment in columns if view == name]
        lines += [f"### {name}", "", views[name], "", *_table(("column", "type", "meaning"), rows)]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return [*lines, ""]


if __name__ == "__main__":
    sys.stdout.write(page(questions(Path(sys.argv[1]).read_text("utf-8"))))
