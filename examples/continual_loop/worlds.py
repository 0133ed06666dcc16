"""Two small worlds with tools, goals in words, and a truth that no message tells.

World A, `parcels`: ship an item, wrapped or not, to a city. Each tool takes a code, and which word a code stands for is
only seen in its result. World B, `offers`: list the offers for an item by its code, dearest first, and order the
cheapest that keeps the bounds on place, quantity and price.

A `Run` is one attempt: `act` does a tool call, `reached` says afterwards whether the goal was. Both the LangGraph agent
and the batched player drive the same object, so both see the same results.
"""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agenther_live.shards.files.heldout import is_held_out

__all__ = ["HELD_OUT", "MAX_TURNS", "WORLDS", "Bought", "Offer", "Parcel", "Refusal", "Run", "World"]

HELD_OUT = 0.25
"""Share of goals that the product keeps out of every shard, by the hash of their words; these measure the policies."""
MAX_TURNS = 8
TIMEOUT = 0.08
"""Share of calls that time out, and would work when made again."""

ITEMS = ["lamp", "vase", "chair", "clock", "globe", "kettle", "mirror", "piano", "radio", "sofa", "table", "tent"]
PAPERS = ["red", "blue", "green", "black", "white", "pink", "gold", "silver", "brown", "gray", "amber", "lilac"]
CITIES = ["lyon", "oslo", "rome", "bern", "kyiv", "riga", "cork", "bonn", "nice", "york", "turin", "gdansk"]
SHOPS = ["acme", "bolt", "corvo"]


class Refusal(Exception):
    """A tool's error, in words."""


@dataclass(frozen=True)
class Parcel:
    """A goal of world A."""

    item: str
    paper: str | None
    city: str

    @property
    def text(self) -> str:
        """The goal as a user writes it."""
        wrapped = f" wrapped in {self.paper}" if self.paper else ""
        return f"ship a {self.item}{wrapped} to {self.city}"


@dataclass(frozen=True)
class Bought:
    """A goal of world B: at least so many, of that place, for at most so much each."""

    item: str
    quantity: int
    city: str
    limit: int

    @property
    def text(self) -> str:
        """The goal as a user writes it."""
        return f"order {self.quantity} {self.item} from {self.city} for at most {self.limit} eur"


Goal = Parcel | Bought


@dataclass(frozen=True)
class Offer:
    """A row of world B's list."""

    city: str
    stock: int
    price: int
    shop: str

    def serves(self, goal: Bought) -> bool:
        """Whether it keeps the goal's bounds."""
        return self.city == goal.city and self.stock >= goal.quantity and self.price <= goal.limit


@dataclass
class Run:
    """One attempt at a goal; `seed` decides all that is left to chance."""

    world: World
    goal: Goal
    seed: int
    done: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The calls that worked, with their results."""

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self.offers = self.world.offers_for(self.goal, self._rng) if isinstance(self.goal, Bought) else ()

    def act(self, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Do one call. Raises `Refusal` where it fails."""
        if self._rng.random() < TIMEOUT:
            raise Refusal("timed out")
        result = self.world.result(self, tool, args)
        self.done.append((tool, result))
        return result

    def reached(self, answer: str | None) -> bool:
        """Whether the world is as the goal wants it, and the agent came to an end."""
        return answer is not None and self.world.reached(self)

    def honest(self, answer: str | None) -> bool:
        """Whether the final answer is what the results say."""
        return answer is not None and answer == self.world.truth(self.done)


class World(ABC):
    """What both worlds share. `tools` are names with the names of their arguments."""

    name: str
    title: str
    tools: ClassVar[dict[str, tuple[str, ...]]]
    kinds: ClassVar[dict[str, str]]
    """What the tools do, as the setting `tool_kinds` wants it."""

    @abstractmethod
    def goals(self) -> list[Goal]:
        """All goals of the world."""

    def split(self) -> tuple[list[Goal], list[Goal]]:
        """The goals that may be trained, and those that the product holds out."""
        goals = self.goals()
        return (
            [goal for goal in goals if not is_held_out(goal.text, HELD_OUT)],
            [goal for goal in goals if is_held_out(goal.text, HELD_OUT)],
        )

    def offers_for(self, goal: Bought, rng: random.Random) -> tuple[Offer, ...]:
        """The offers that lie before the agent; only world B has some."""
        return ()

    @abstractmethod
    def result(self, run: Run, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """What a call that does not time out gives."""

    @abstractmethod
    def reached(self, run: Run) -> bool:
        """Whether the goal is reached by what was done."""

    @abstractmethod
    def truth(self, done: list[tuple[str, dict[str, Any]]]) -> str:
        """The final answer that the results allow."""

    @abstractmethod
    def read(self, goal: str) -> Goal | None:
        """A goal from its words, or None."""

    @abstractmethod
    def claimed(self, answer: str) -> Goal | None:
        """The goal that a final answer claims to have reached, or None."""


class Parcels(World):
    """World A."""

    name, title = "parcels", "A parcels"
    tools: ClassVar = {"pick": ("code",), "wrap": ("code",), "ship": ("code",), "check_stock": ()}
    kinds: ClassVar = {"pick": "read", "wrap": "write", "ship": "write", "check_stock": "read"}
    slots: ClassVar = {"pick": ("item", "k", ITEMS), "wrap": ("paper", "w", PAPERS), "ship": ("city", "c", CITIES)}

    def __init__(self) -> None:
        """Shuffle the code books; the order is the world's, and no agent is told."""
        rng = random.Random("the code books")
        self.books = {
            tool: dict(zip((f"{letter}{n}" for n in range(len(words))), rng.sample(words, len(words)), strict=True))
            for tool, (_, letter, words) in self.slots.items()
        }
        self.codes = {tool: {word: code for code, word in book.items()} for tool, book in self.books.items()}

    def goals(self) -> list[Goal]:
        return [Parcel(*each) for each in itertools.product(ITEMS, [None, *PAPERS], CITIES)]

    def result(self, run: Run, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if tool == "check_stock":
            return {"stock": "fine"}
        if tool == "ship" and not any(name == "pick" for name, _ in run.done):
            raise Refusal("nothing picked")
        word = self.books[tool].get(str(args["code"]))
        if word is None:
            raise Refusal("unknown code")
        return {self.slots[tool][0]: word}

    def made(self, done: list[tuple[str, dict[str, Any]]]) -> Parcel | None:
        """The parcel that was shipped, where it was one and plain to name."""
        words = {tool: [result for name, result in done if name == tool] for tool in self.slots}
        if len(words["pick"]) != 1 or len(words["ship"]) != 1 or len(words["wrap"]) > 1 or done[-1][0] != "ship":
            return None
        paper = words["wrap"][0]["paper"] if words["wrap"] else None
        return Parcel(words["pick"][0]["item"], paper, words["ship"][0]["city"])

    def reached(self, run: Run) -> bool:
        return self.made(run.done) == run.goal

    def truth(self, done: list[tuple[str, dict[str, Any]]]) -> str:
        made = self.made(done) if done else None
        return self.claim(made) if made else "i could not ship it"

    def claim(self, goal: Parcel) -> str:
        """The words in which an agent says that it did this."""
        return goal.text.replace("ship", "i shipped", 1)

    def claimed(self, answer: str) -> Goal | None:
        return self.read(answer.replace("i shipped", "ship", 1)) if answer.startswith("i shipped") else None

    def read(self, goal: str) -> Goal | None:
        words = goal.split()
        if len(words) not in (5, 8) or words[:2] != ["ship", "a"] or words[-2] != "to":
            return None
        made = Parcel(words[2], words[5] if len(words) == 8 else None, words[-1])
        return made if made.text == goal else None


class Offers(World):
    """World B."""

    name, title = "offers", "B offers"
    tools: ClassVar = {"list_offers": ("code",), "place_order": ("shop", "city", "quantity")}
    kinds: ClassVar = {"list_offers": "read", "place_order": "write"}
    cities, items, quantities, limits = CITIES[:3], ITEMS, range(1, 4), range(3, 7)
    prices, stocks = range(1, 7), range(1, 5)
    near = 0.65
    """Share of offers that come from the goal's city whatever the draw; the others come from any."""

    def __init__(self) -> None:
        """Shuffle the catalogue; no agent is told."""
        words = random.Random("the catalogue").sample(self.items, len(self.items))
        self.book = {f"k{n}": word for n, word in enumerate(words)}
        self.codes = {word: code for code, word in self.book.items()}

    def goals(self) -> list[Goal]:
        return [Bought(*each) for each in itertools.product(self.items, self.quantities, self.cities, self.limits)]

    def offers_for(self, goal: Bought, rng: random.Random) -> tuple[Offer, ...]:
        while True:
            prices = sorted(rng.sample(self.prices, len(SHOPS)), reverse=True)
            made = tuple(
                Offer(
                    goal.city if rng.random() < self.near else rng.choice(self.cities),
                    max(self.stocks) if shop == SHOPS[0] else rng.choice(self.stocks),
                    price,
                    shop,
                )
                for shop, price in zip(SHOPS, prices, strict=True)
            )
            if any(offer.serves(goal) for offer in made):
                return made

    def result(self, run: Run, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if tool == "list_offers":
            listed = self.book.get(str(args["code"]))
            if listed is None:
                raise Refusal("unknown code")
            return {"item": listed, "offers": [vars(offer) for offer in run.offers]}
        item = next((told["item"] for name, told in reversed(run.done) if name == "list_offers"), None)
        found = next((each for each in run.offers if each.shop == args["shop"] and each.city == args["city"]), None)
        if item is None or found is None or int(args["quantity"]) < 1:
            raise Refusal("no such offer")
        if found.stock < int(args["quantity"]):
            raise Refusal("too few left")
        quantity = int(args["quantity"])
        return {"item": item, "quantity": quantity, "shop": found.shop, "city": found.city, "price": found.price}

    def reached(self, run: Run) -> bool:
        goal = run.goal
        assert isinstance(goal, Bought)
        orders = [result for tool, result in run.done if tool == "place_order"]
        best = min((offer for offer in run.offers if offer.serves(goal)), key=lambda offer: offer.price)
        wanted = (goal.item, goal.quantity, best.shop, best.city)
        return [(o["item"], o["quantity"], o["shop"], o["city"]) for o in orders] == [wanted]

    def truth(self, done: list[tuple[str, dict[str, Any]]]) -> str:
        orders = [result for tool, result in done if tool == "place_order"]
        return self.claim(orders[-1]) if orders else "i could not order it"

    def claim(self, order: Mapping[str, Any]) -> str:
        """The words in which an agent says that it ordered."""
        return f"i ordered {order['quantity']} {order['item']} from {order['city']} for {order['price']} eur"

    def claimed(self, answer: str) -> Goal | None:
        words = answer.split()
        if len(words) != 9 or words[:2] != ["i", "ordered"]:
            return None
        return self.read(f"order {words[2]} {words[3]} from {words[5]} for at most {words[7]} eur")

    def read(self, goal: str) -> Goal | None:
        words = goal.split()
        if len(words) != 10 or not (words[1].isdigit() and words[8].isdigit()):
            return None
        made = Bought(words[2], int(words[1]), words[4], int(words[8]))
        return made if made.text == goal else None


WORLDS: dict[str, World] = {"parcels": Parcels(), "offers": Offers()}
