"""The world as agents meet it: five tools that answer with JSON rows, and the orders that were really placed."""

import json
import random
import threading
from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException, tool

from agenther_live.demo import DEFAULT_SEED, catalogue
from agenther_live.demo.catalogue import Offer

FAULTY_SHARE = 0.35
NEVER_ANSWERS = 1000

# Arguments of the tools; models read these descriptions in the tools' schemas.
SupplierName = Annotated[str, "Name of the supplier, as list_suppliers gives it."]
Item = Annotated[str, 'Name of the item, for example "desk lamp".']
Quantity = Annotated[int, "Number of units."]
City = Annotated[str, "City to deliver to."]


class ToolTimeout(ToolException):
    """A supplier's system did not answer in time. Some answer at the second call, some never do."""


class World:
    """The catalogue plus what agents did in it: orders and timeouts, each kept per task.

    A task is told by the thread id of its run, and no task sees the orders of another, so 60 concurrent runs give what
    the same runs give one after the other. Safe to use from any thread.
    """

    def __init__(self, *, seed: int = DEFAULT_SEED) -> None:
        """Make a world without orders; the seed decides which tasks meet timeouts."""
        self.seed = seed
        self._lock = threading.Lock()
        self._orders: dict[str, list[Offer]] = {}
        self._calls: Counter[tuple[str, str, str, str]] = Counter()

    def orders(self, task_id: str) -> tuple[Offer, ...]:
        """The orders really placed for the task, oldest first."""
        with self._lock:
            return tuple(self._orders.get(task_id, ()))

    def place(self, task_id: str, supplier: str, item: str, quantity: int, city: str) -> tuple[str, Offer]:
        """Place an order and return its id. Raises `Refused` where the supplier would not take it."""
        order = catalogue.offer(supplier, item, quantity, city)
        with self._lock:
            placed = self._orders.setdefault(task_id, [])
            left = catalogue.listing(supplier, item).stock - sum(
                o.quantity for o in placed if (o.supplier, o.item) == (supplier, order.item)
            )
            if quantity > left:
                raise catalogue.Refused(f"{supplier} has only {left} {order.item}s left after your earlier orders")
            placed.append(order)
            return f"PO-{task_id}-{len(placed)}", order

    def wait_for(self, task_id: str, service: str, supplier: str, item: str) -> None:
        """Stand for the network: raises `ToolTimeout` where this call of this task meets one."""
        key = (task_id, service, supplier, item)
        with self._lock:
            self._calls[key] += 1
            attempt = self._calls[key]
        if attempt <= timeouts(self.seed, task_id, service, supplier):
            raise ToolTimeout(f"{service} for {supplier} timed out after 30 s; nothing was changed")


def timeouts(seed: int, task_id: str, service: str, supplier: str) -> int:
    """How many first calls of a service time out for a task: 0 mostly, 1 or 2 where it recovers, else `NEVER_ANSWERS`.

    A faulty task has one bad service; for quotes and shipping about half of the suppliers are affected.
    """
    rng = random.Random(f"{seed}/{task_id}")
    if rng.random() >= FAULTY_SHARE:
        return 0
    bad = rng.choice(("get_quote", "get_quote", "get_quote", "shipping_quote", "place_order", "place_order"))
    failures = rng.choice((1, 1, 2, NEVER_ANSWERS))
    spared = bad != "place_order" and random.Random(f"{seed}/{task_id}/{supplier}").random() < 0.5
    return failures if service == bad and not spared else 0


def task_of(config: RunnableConfig) -> str:
    """The task that a tool call belongs to: the thread id of its run."""
    return str(config.get("configurable", {}).get("thread_id", "no-thread"))


def build_tools(world: World, *, handle_errors: bool = False) -> list[BaseTool]:
    """The five tools of the world.

    With `handle_errors` a tool turns its own errors into a tool message with status `error`; without it they are raised
    and the graph's tool node has to handle them. Both are common in real agents.
    """

    @tool
    def list_suppliers(item: Item) -> str:
        """List the suppliers that sell an item, with the smallest order that each takes."""
        item = catalogue.item_named(item)
        rows = [
            {"supplier": name, "item": item, "ships_from": catalogue.SUPPLIERS[name].city, "min_order": entry.min_order}
            for name, entry in catalogue.sellers(item).items()
        ]
        return _json({"item": item, "suppliers": rows})

    @tool
    def check_stock(supplier: SupplierName, item: Item) -> str:
        """Tell how many units of an item a supplier has in stock."""
        entry = catalogue.listing(supplier, item)
        return _json({"supplier": supplier, "item": catalogue.item_named(item), "stock": entry.stock})

    @tool
    def shipping_quote(supplier: SupplierName, city: City, config: RunnableConfig) -> str:
        """Tell what a supplier charges to ship an order to a city, and how many days delivery takes."""
        world.wait_for(task_of(config), "shipping_quote", supplier, "")
        cost, days = catalogue.shipping(supplier, city)
        return _json({"supplier": supplier, "city": city, "shipping_cost": cost, "delivery_days": days})

    @tool
    def get_quote(supplier: SupplierName, item: Item, quantity: Quantity, city: City, config: RunnableConfig) -> str:
        """Ask a supplier for its binding price for a quantity of an item, shipping included."""
        world.wait_for(task_of(config), "get_quote", supplier, item)
        return _json(asdict(catalogue.offer(supplier, item, quantity, city)) | {"currency": "EUR"})

    @tool
    def place_order(supplier: SupplierName, item: Item, quantity: Quantity, city: City, config: RunnableConfig) -> str:
        """Place a binding order. It cannot be taken back."""
        task_id = task_of(config)
        world.wait_for(task_id, "place_order", supplier, item)
        order_id, order = world.place(task_id, supplier, item, quantity, city)
        return _json({"order_id": order_id, "status": "confirmed"} | asdict(order) | {"currency": "EUR"})

    tools: list[BaseTool] = [list_suppliers, check_stock, shipping_quote, get_quote, place_order]
    for each in tools:
        each.handle_tool_error = handle_errors
    return tools


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)
