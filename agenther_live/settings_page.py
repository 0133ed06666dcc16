"""Write `docs/settings.md`: every setting with its default, from the settings model itself.

python -m agenther_live.settings_page > docs/settings.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from agenther_live import settings as model

__all__ = ["page"]

_HEAD = """# Settings

*Written by `python -m agenther_live.settings_page`: change `agenther_live/settings.py`, not this page.*

Each setting can be given in three places; the first one that has it wins:

1. an argument: `Live("./agenther", history_days=90)`, or the option of a verb that has one;
2. a variable: `AGENTHER_HISTORY_DAYS=90` (lists with commas between, tables as JSON; an empty one counts as not given);
3. a line of `agenther.toml` in the home: `history_days = 90`.

```toml
# agenther/agenther.toml
relabeler = "openai:gpt-4o-mini"
judges = ["rules", "openai:gpt-4.1-mini"]
pii = "redact"
formats = ["trl_sft", "trl_dpo"]

[polarity.desk]
handoff = "success"
```

A wrong name or value is refused, with what is allowed. Sizes are bytes, times are seconds, prices US dollars. A chat
model is written `provider:name[,base_url=URL][,api_key_env=VARIABLE]`.
"""

_PARTS = {
    "capture": "Capture",
    "buffer": "Buffer and history",
    "outcome": "Outcome",
    "relabel": "Relabeling, models and money",
    "worker": "Worker",
    "shards": "Shards",
}


def page() -> str:
    """Make the page; settings stand in the order of the model, under the comments that part it."""
    lines, told = [_HEAD], set[str]()
    for title, names in _parts():
        lines += [f"## {title}", "", "| setting | default | meaning |", "|---|---|---|"]
        for name in names:
            field = model.Settings.model_fields[name]
            choice = ", ".join(f"`{word}`" for word in _allowed(field.annotation))
            more = f" {'One' if get_origin(field.annotation) is not tuple else 'Any'} of {choice}."
            shown = more if choice and choice not in told else ""  # formats are in two settings
            told.add(choice)
            lines.append(f"| `{name}` | {_default(field)} | {_cell(field.description or '')}{shown} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _parts() -> Iterator[tuple[str, list[str]]]:
    """Titles with the names below them, as the source of the model has them."""
    title, names = "The home", list[str]()
    for line in Path(str(model.__file__)).read_text("utf-8").splitlines():
        if (part := re.fullmatch(r"    # (\w+)", line)) and part[1] in _PARTS:
            yield title, names
            title, names = _PARTS[part[1]], []
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in model.Settings.model_fields:
            names.append(field[1])
    yield title, names


def _cell(text: str) -> str:
    return text.replace("|", "&#124;")


def _allowed(annotation: Any) -> list[str]:
    """The words of a choice, or of a list of choices; those of tables are told in words."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if get_origin(annotation) is dict:
        return []
    return [word for part in get_args(annotation) for word in _allowed(part)]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value >> 30} GiB" if value % (1 << 30) == 0 else f"{value >> 20} MiB"
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
