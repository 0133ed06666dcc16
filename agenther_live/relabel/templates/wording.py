"""English from tool names and arguments: enough to say a request as a person would, and no more.

Everything said here can be read back: the words come from the tool's own name, its parameters and the values given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from agenther_live.relabel.reading.calls import name_words
from agenther_live.relabel.reading.lexicon import CARRIERS, DELIVERING, HANDING_OVER, READING, SELLERS, WRITING
from agenther_live.relabel.reading.rows import is_money

__all__ = [
    "amount",
    "cell_text",
    "column_text",
    "duty",
    "human",
    "listing",
    "past",
    "phrase",
    "plural",
    "request",
    "verb_and_noun",
]

_OBJECTS = (
    "item",
    "items",
    "product",
    "product_name",
    "item_name",
    "article",
    "part",
    "material",
    "sku",
    "goods",
    "title",
    "subject",
    "keyword",
    "keywords",
    "query",
    "q",
    "topic",
    "search_query",
    "input",
    "expression",
    "text",
)
_QUANTITIES = ("quantity", "qty", "units", "amount", "count", "pieces")
_IRREGULAR = {
    "buy": "bought",
    "send": "sent",
    "pay": "paid",
    "make": "made",
    "write": "wrote",
    "set": "set",
    "put": "put",
    "sell": "sold",
    "find": "found",
    "get": "got",
    "cancel": "cancelled",
    "ship": "shipped",
    "submit": "submitted",
    "transfer": "transferred",
    "swap": "swapped",
    "run": "ran",
    "show": "showed",
    "read": "read",
    "withdraw": "withdrew",
    "stop": "stopped",
    "commit": "committed",
}
_OPENINGS = ("Please {0}.", "Could you {0}?", "I need you to {0}.", "{1}, please.", "{1}.")


def plural(word: str) -> str:
    """A noun phrase in the plural, by the usual endings."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word if word.endswith("s") and not word.endswith("ss") else f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def past(verb: str) -> str:
    """A verb in the past tense."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith("e"):
        return f"{verb}d"
    return f"{verb[:-1]}ied" if verb.endswith("y") and verb[-2:-1] not in "aeiou" else f"{verb}ed"


def human(name: str) -> str:
    """A parameter or column as words: 'order_id' → 'order id'."""
    return " ".join(name_words(name))


def column_text(column: str) -> str:
    """A column as words; a plain 'total' is said as 'total price'."""
    parts = name_words(column)
    return "total price" if parts == ["total"] else " ".join(parts)


def amount(column: str, value: Any, row: Mapping[str, Any]) -> str:
    """A cell with its unit, written as people write it."""
    if isinstance(value, int | float) and not isinstance(value, bool) and is_money(column):
        currency = str(row.get("currency", "")).strip()
        text = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        return f"{text} {currency}".strip()
    return cell_text(value)


def cell_text(value: Any) -> str:
    """A plain cell as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def listing(parts: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def verb_and_noun(tool: str) -> tuple[str, str] | None:
    """The verb and the noun phrase of a tool's name; None where there is no verb to say it with."""
    parts = [part for part in name_words(tool) if not part.isdigit()]
    if not parts or HANDING_OVER.intersection(parts):
        return None
    if parts[-1] in ("quote", "quotes") and parts[0] not in READING | WRITING | {"get"}:
        return "get", " ".join(parts)  # 'shipping_quote'
    if parts[0] not in READING | WRITING | CARRIERS | {"get", "request", "ask"}:
        return None
    verb, rest = parts[0], parts[1:]
    if "by" in rest:
        rest = rest[: rest.index("by")]
    if "for" in rest:
        rest = rest[: rest.index("for")]
    if verb in CARRIERS and rest and rest[-1] in ("order", "purchase"):
        return "order", ""
    return verb, " ".join(rest)


def phrase(tool: str, args: Mapping[str, Any]) -> str:
    """Arguments as the words behind the verb: 'for 40 desk lamps delivered to Lyon'."""
    said = verb_and_noun(tool)
    verb = said[0] if said else ""
    words = set(name_words(tool))
    left = {key: value for key, value in args.items() if value not in (None, "")}
    parts: list[str] = []
    thing = next((key for key in _OBJECTS if key in left and isinstance(left[key], str)), None)
    how_many = next((key for key in _QUANTITIES if key in left), None)
    if thing is not None:
        text = str(left.pop(thing))
        many = None
        if how_many is not None:
            many = left.pop(how_many)
            text = f"{many} {plural(text) if text.islower() and many != 1 else text}"
        elif (text.islower() and thing in ("item", "product") and " " in text) or (text.islower() and thing == "item"):
            text = plural(text)
        parts.append(
            text
            if verb in ("order", "buy", "purchase", "search", "calculate") and not (said and said[1])
            else f"for {text}"
        )
    elif how_many is not None:
        many = left.pop(how_many)
        parts.append(f"for {int(many) if isinstance(many, float) and many.is_integer() else many}")
    for key in sorted(left, key=lambda each: (_rank(each), list(args).index(each))):
        parts.append(_argument(key, left[key], words))
    plain = [part for part in parts if not part.startswith("with ")]
    details = [part.removeprefix("with ") for part in parts if part.startswith("with ")]
    return " ".join([*plain, f"with {listing(details)}"] if details else plain)


def _rank(key: str) -> int:
    parts = name_words(key)
    return (
        0
        if parts[0] in ("origin", "from")
        else 1
        if parts[-1] in ("city", "destination", "to", "address", "location")
        else 2
    )


def _argument(key: str, value: Any, words: set[str]) -> str:
    parts = name_words(key)
    last, text = parts[-1], cell_text(value)
    if last in SELLERS:
        return f"from {text}"
    if parts == ["city"] and words & {"shipping", "ship", "shipment"}:
        return f"to {text}"
    if (
        parts in (["city"], ["destination"], ["delivery", "city"], ["ship", "to"], ["shipping", "city"], ["address"])
        and words & DELIVERING
    ):
        return f"delivered to {text}"
    if parts in (["destination"], ["to"], ["recipient"], ["to", "email"], ["to", "city"]):
        return f"to {text}"
    if parts in (["origin"], ["from"], ["from", "city"]):
        return f"from {text}"
    if parts in (["city"], ["location"], ["country"], ["region"], ["place"]):
        return f"in {text}"
    if last in ("date", "day"):
        return f"on {text}" if parts == ["date"] or parts == ["day"] else f"with {human(key)} {text}"
    return f"with {human(key)} {text}"


def duty(tool: str, args: Mapping[str, Any], *, article: bool = True) -> str | None:
    """What a call does, as an infinitive ('order 40 desk lamps'); None where the tool's name gives no words."""
    said = verb_and_noun(tool)
    if said is None:
        return None
    verb, noun = said
    behind = phrase(tool, args)
    if noun and article and noun.split()[0] not in ("to", "from", "in", "on", "all"):
        noun = f"a {noun}" if verb == "get" and noun.endswith("quote") else f"the {noun}"
    return " ".join(part for part in (verb, noun, behind) if part)


def request(infinitive: str, seed: str) -> str:
    """An infinitive as a request; which form is taken follows from the seed, so that a set of goals has variety."""
    choice = hashlib.sha256(seed.encode()).digest()[0] % len(_OPENINGS)
    return _OPENINGS[choice].format(infinitive, infinitive[:1].upper() + infinitive[1:])
