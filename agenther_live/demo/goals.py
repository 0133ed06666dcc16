"""What users ask for: requirements that a machine can check, and their wording in plain English, both ways."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from agenther_live.demo.catalogue import CITIES, LISTINGS, SUPPLIERS, Offer, offers

Action = Literal["order", "quote", "find"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A goal as fields. None (or False, or 1 quote) asks nothing; prices are EUR, totals include shipping."""

    action: Action
    item: str
    quantity: int | None = None
    city: str | None = None
    supplier: str | None = None
    max_unit_price: float | None = None
    max_total: float | None = None
    max_days: int | None = None
    cheapest: bool = False
    min_quotes: int = 1


def in_days(days: int) -> str:
    """A number of days in words: `1 day`, `6 days`."""
    return f"{days} day" if days == 1 else f"{days} days"


def broken(wish: Requirements, offer: Offer) -> str | None:
    """The first requirement that the offer breaks, in words; None where it meets them all (`cheapest` aside)."""
    if offer.item != wish.item:
        return f"{offer.item}s instead of {wish.item}s"
    if wish.quantity is not None and offer.quantity != wish.quantity:
        return f"{offer.quantity} {offer.item}s instead of {wish.quantity}"
    if wish.city is not None and offer.city != wish.city:
        return f"delivery to {offer.city} instead of {wish.city}"
    if wish.supplier is not None and offer.supplier != wish.supplier:
        return f"from {offer.supplier} instead of {wish.supplier}"
    if wish.max_unit_price is not None and offer.unit_price > wish.max_unit_price:
        return f"{offer.unit_price:,.2f} EUR each is above the limit of {wish.max_unit_price:,.2f} EUR"
    if wish.max_total is not None and offer.total > wish.max_total:
        return f"{offer.total:,.2f} EUR in total is above the limit of {wish.max_total:,.2f} EUR"
    if wish.max_days is not None and offer.delivery_days > wish.max_days:
        return f"delivery takes {in_days(offer.delivery_days)}, the limit is {in_days(wish.max_days)}"
    return None


def fitting(wish: Requirements, candidates: Iterable[Offer]) -> list[Offer]:
    """The candidates that break no requirement, cheapest first."""
    return sorted((each for each in candidates if broken(wish, each) is None), key=lambda each: each.total)


def best_offer(wish: Requirements) -> Offer | None:
    """The cheapest offer in the whole world that breaks no requirement; needs a quantity and a city."""
    if wish.quantity is None or wish.city is None:
        return None
    return next(iter(fitting(wish, offers(wish.item, wish.quantity, wish.city))), None)


def describe(wish: Requirements) -> str:
    """The requirements in one phrase, as the agent repeats them to itself: `40 desk lamps to Lyon within 6 days`."""
    parts = [f"{wish.quantity} {wish.item}s" if wish.quantity is not None else f"{wish.item}s"]
    if wish.city is not None:
        parts.append(f"to {wish.city}")
    if wish.max_unit_price is not None:
        parts.append(f"for at most {wish.max_unit_price:,.0f} EUR each")
    if wish.max_total is not None:
        parts.append(f"for at most {wish.max_total:,.0f} EUR in total")
    if wish.max_days is not None:
        parts.append(f"within {in_days(wish.max_days)}")
    if wish.cheapest:
        parts.append("at the lowest price")
    return " ".join(parts)


_NUMBER = r"(\d[\d,]*(?:\.\d+)?)"
_UNIT_PRICE = re.compile(rf"{_NUMBER} EUR (?:each|apiece|per piece|per unit|a piece)")
_TOTAL = re.compile(rf"{_NUMBER} EUR(?! (?:each|apiece|per piece|per unit|a piece))")
_DAYS = re.compile(r"(?<!\d)(\d+) days?\b")
_QUOTES = re.compile(r"at least (\d+) suppliers")
_IS_QUOTE = re.compile(r"\b(quotes?|cost|compare|how much)\b", re.IGNORECASE)
_IS_ORDER = re.compile(r"\b(order|ordered|buy|purchase)\b", re.IGNORECASE)
_IS_CHEAPEST = re.compile(r"\b(cheapest|lowest)\b", re.IGNORECASE)


def _number(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.search(text)
    return float(match[1].replace(",", "")) if match else None


def read_goal(text: str) -> Requirements | None:
    """Read the requirements out of a goal in words, as a model would; None where no item of the catalogue is named."""
    named = [item for item in LISTINGS if re.search(rf"\b{item}s?\b", text, re.IGNORECASE)]
    if not named:
        return None
    item = named[0]
    quantity = _number(re.compile(rf"\b{_NUMBER} {item}s?\b", re.IGNORECASE), text)
    days, quotes = _number(_DAYS, text), _number(_QUOTES, text)
    action: Action = "quote" if _IS_QUOTE.search(text) else "order" if _IS_ORDER.search(text) else "find"
    return Requirements(
        action=action,
        item=item,
        quantity=None if quantity is None else int(quantity),
        city=next((city for city in CITIES if re.search(rf"\b{city}\b", text)), None),
        supplier=next((name for name in SUPPLIERS if name in text), None),
        max_unit_price=_number(_UNIT_PRICE, text),
        max_total=_number(_TOTAL, text),
        max_days=None if days is None else int(days),
        cheapest=bool(_IS_CHEAPEST.search(text)),
        min_quotes=1 if quotes is None else int(quotes),
    )
