"""The facts of the demo world: who sells what, where from, and at which price. Pure data and pure functions.

Money is in EUR, rounded to cents; distances are in kilometres; delivery times are in days.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

from langchain_core.tools import ToolException


class Refused(ToolException):
    """A supplier's system answered no (unknown item, too few, too many, no delivery), with the reason in words."""


@dataclass(frozen=True, slots=True)
class Supplier:
    """A supplier: where it ships from, what shipping costs and how many days it needs before a parcel leaves."""

    name: str
    city: str
    shipping_fee: float
    shipping_fee_per_km: float
    handling_days: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What one supplier asks for one item: price of a unit, smallest order it takes, units in stock."""

    unit_price: float
    min_order: int
    stock: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A supplier's full price for a quantity of an item delivered to a city: one row of `get_quote`."""

    supplier: str
    item: str
    quantity: int
    city: str
    unit_price: float
    goods_total: float
    shipping_cost: float
    total: float
    delivery_days: int

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Read the offer out of a tool's row; further fields (currency, order id) are left aside."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


SUPPLIERS: dict[str, Supplier] = {
    supplier.name: supplier
    for supplier in (
        Supplier("Atlas Office", "Lyon", 35.0, 0.06, 1),
        Supplier("Brightworks", "Hamburg", 20.0, 0.09, 2),
        Supplier("Corvo Trade", "Lisbon", 15.0, 0.05, 4),
        Supplier("Delta Supply", "Krakow", 25.0, 0.04, 3),
        Supplier("Emerald Interiors", "Dublin", 40.0, 0.10, 1),
        Supplier("Fjord & Sons", "Hamburg", 55.0, 0.12, 0),
        Supplier("Gantry Goods", "Lyon", 10.0, 0.08, 5),
    )
}

CITIES: tuple[str, ...] = ("Dublin", "Hamburg", "Krakow", "Lisbon", "Lyon")

_KM: dict[frozenset[str], int] = {
    frozenset(("Dublin", "Hamburg")): 1080,
    frozenset(("Dublin", "Krakow")): 1830,
    frozenset(("Dublin", "Lisbon")): 1640,
    frozenset(("Dublin", "Lyon")): 1170,
    frozenset(("Hamburg", "Krakow")): 780,
    frozenset(("Hamburg", "Lisbon")): 2200,
    frozenset(("Hamburg", "Lyon")): 990,
    frozenset(("Krakow", "Lisbon")): 2600,
    frozenset(("Krakow", "Lyon")): 1250,
    frozenset(("Lisbon", "Lyon")): 1370,
}

# item → supplier → (unit price, smallest order, stock)
LISTINGS: dict[str, dict[str, Listing]] = {
    "office chair": {
        "Atlas Office": Listing(139.00, 5, 400),
        "Brightworks": Listing(124.50, 20, 250),
        "Delta Supply": Listing(98.00, 50, 600),
        "Emerald Interiors": Listing(149.00, 1, 60),
        "Fjord & Sons": Listing(171.00, 1, 120),
    },
    "conference chair": {
        "Atlas Office": Listing(84.00, 10, 300),
        "Brightworks": Listing(79.90, 10, 45),
        "Corvo Trade": Listing(61.50, 25, 500),
        "Emerald Interiors": Listing(92.00, 1, 150),
    },
    "desk lamp": {
        "Brightworks": Listing(31.20, 10, 500),
        "Corvo Trade": Listing(24.75, 20, 350),
        "Fjord & Sons": Listing(38.00, 1, 200),
        "Gantry Goods": Listing(27.40, 5, 90),
    },
    "floor lamp": {
        "Brightworks": Listing(66.00, 5, 220),
        "Corvo Trade": Listing(52.30, 30, 180),
        "Emerald Interiors": Listing(74.00, 1, 80),
        "Gantry Goods": Listing(58.90, 10, 160),
    },
    "monitor arm": {
        "Atlas Office": Listing(57.00, 1, 320),
        "Delta Supply": Listing(41.80, 25, 410),
        "Emerald Interiors": Listing(63.50, 1, 100),
        "Gantry Goods": Listing(46.00, 10, 70),
    },
    "laptop stand": {
        "Atlas Office": Listing(29.90, 5, 260),
        "Brightworks": Listing(26.40, 20, 300),
        "Delta Supply": Listing(19.60, 40, 700),
        "Fjord & Sons": Listing(34.00, 1, 150),
        "Gantry Goods": Listing(22.10, 10, 55),
    },
    "whiteboard": {
        "Atlas Office": Listing(88.00, 1, 90),
        "Brightworks": Listing(94.50, 1, 110),
        "Corvo Trade": Listing(69.00, 10, 140),
        "Delta Supply": Listing(73.20, 5, 35),
    },
    "pinboard": {
        "Corvo Trade": Listing(33.00, 10, 200),
        "Delta Supply": Listing(28.50, 20, 160),
        "Emerald Interiors": Listing(41.00, 1, 75),
        "Fjord & Sons": Listing(44.90, 1, 95),
    },
    "standing desk": {
        "Atlas Office": Listing(419.00, 1, 80),
        "Brightworks": Listing(388.00, 5, 70),
        "Delta Supply": Listing(312.00, 10, 120),
        "Fjord & Sons": Listing(456.00, 1, 60),
    },
    "folding table": {
        "Atlas Office": Listing(118.00, 2, 140),
        "Corvo Trade": Listing(83.00, 10, 160),
        "Delta Supply": Listing(91.50, 10, 30),
        "Gantry Goods": Listing(97.00, 5, 130),
    },
    "label printer": {
        "Brightworks": Listing(142.00, 1, 65),
        "Corvo Trade": Listing(118.90, 10, 90),
        "Emerald Interiors": Listing(155.00, 1, 50),
        "Gantry Goods": Listing(126.00, 5, 25),
    },
    "laser printer": {
        "Atlas Office": Listing(264.00, 1, 70),
        "Brightworks": Listing(239.00, 5, 60),
        "Emerald Interiors": Listing(279.00, 1, 40),
        "Fjord & Sons": Listing(298.00, 1, 55),
    },
}

# Items that a careless reader takes for one another.
LOOKALIKES: dict[str, str] = {
    "office chair": "conference chair",
    "desk lamp": "floor lamp",
    "monitor arm": "laptop stand",
    "whiteboard": "pinboard",
    "standing desk": "folding table",
    "label printer": "laser printer",
}
LOOKALIKES |= {other: item for item, other in LOOKALIKES.items()}


def item_named(text: str) -> str:
    """The catalogue's name of an item, from its singular or plural in any case. Raises `Refused` for any other."""
    name = text.strip().lower()
    for item in LISTINGS:
        if name in (item, f"{item}s"):
            return item
    raise Refused(f"unknown item {text!r}; the catalogue has: {', '.join(LISTINGS)}")


def sellers(item: str) -> dict[str, Listing]:
    """Everyone who sells the item, in alphabetical order. Raises `Refused` for an unknown item."""
    return LISTINGS[item_named(item)]


def listing(supplier: str, item: str) -> Listing:
    """What the supplier asks for the item. Raises `Refused` where it does not sell it."""
    found = sellers(item).get(supplier)
    if found is None:
        raise Refused(f"{supplier} does not sell {item_named(item)}s")
    return found


def shipping(supplier: str, city: str) -> tuple[float, int]:
    """Cost in EUR and days to ship any order from the supplier to the city. Raises `Refused` for unknown names."""
    if supplier not in SUPPLIERS:
        raise Refused(f"unknown supplier {supplier!r}")
    if city not in CITIES:
        raise Refused(f"no delivery to {city}; cities served: {', '.join(CITIES)}")
    who = SUPPLIERS[supplier]
    km = 20 if city == who.city else _KM[frozenset((city, who.city))]
    return round(who.shipping_fee + km * who.shipping_fee_per_km, 2), who.handling_days + math.ceil(km / 450)


def offer(supplier: str, item: str, quantity: int, city: str) -> Offer:
    """The supplier's full price. Raises `Refused` where it would not take the order: below its minimum, above stock."""
    entry, item = listing(supplier, item), item_named(item)
    if quantity < entry.min_order:
        raise Refused(f"{supplier} has a minimum order of {entry.min_order} {item}s")
    if quantity > entry.stock:
        raise Refused(f"{supplier} has only {entry.stock} {item}s in stock")
    cost, days = shipping(supplier, city)
    goods = round(entry.unit_price * quantity, 2)
    return Offer(supplier, item, quantity, city, entry.unit_price, goods, cost, round(goods + cost, 2), days)


def offers(item: str, quantity: int, city: str) -> list[Offer]:
    """Every offer that the world has for this quantity and city, cheapest first."""
    found = []
    for supplier in sellers(item):
        try:
            found.append(offer(supplier, item, quantity, city))
        except Refused:
            continue
    return sorted(found, key=lambda each: (each.total, each.supplier))
