"""A scripted LLM over HTTP that speaks the OpenAI protocol: it plays relabeler and judge, with stated errors.

It answers from the record in the prompt alone, as a model would: results are parsed, calls are followed, and a goal is
read from or written in words. Its errors are drawn from a seed and the record, so the same question gets the same
answer in every home; the marker around the record, a secret of the home, has no part in it. Standard library only.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.continual_loop.worlds import Bought, Goal, Offer, Offers, Parcel, Parcels, World

__all__ = ["ErrorModel", "answer", "serve"]


@dataclass(frozen=True)
class ErrorModel:
    """How often the scripted model is wrong."""

    misread: float = 0.06
    """Of proposed goals that have one word wrong."""
    accepts: float = 0.10
    """Of judged goals that are wrong and pass."""
    rejects: float = 0.05
    """Of judged goals that are right and do not pass."""
    seed: int = 0
    """Another seed is wrong elsewhere."""


@contextmanager
def serve(world: World, errors: ErrorModel) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 until the end of the block; gives the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = json.dumps(answer(request, world, errors))
            body = json.dumps(
                {
                    "id": "chatcmpl-scripted",
                    "object": "chat.completion",
                    "created": 0,
                    "model": request["model"],
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                    ],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(request: dict[str, Any], world: World, errors: ErrorModel) -> dict[str, Any]:
    """The reply to a prompt of the product, by the keys that it asks for."""
    prompt = request["messages"][-1]["content"]
    marker = re.findall(r"^record ([0-9a-f]{16})$", prompt, re.MULTILINE)[0]
    told = prompt.split("\n")[1]
    record = json.loads(told)
    rng = random.Random(f"{errors.seed} {told}")
    done, at = _done(record["messages"])
    if "failed_goal" not in record:  # no judge is shown it
        return _judged(marker, record, done, at, world, errors, rng)
    return _proposed(marker, record, done, at, world, errors, rng)


Done = list[tuple[str, dict[str, Any]]]


def _done(messages: list[dict[str, Any]]) -> tuple[Done, list[int]]:
    """The calls that worked with their results, and the numbers of the result messages."""
    done: Done = []
    at: list[int] = []
    name = ""
    for message in messages:
        told = message.get("text")
        if message.get("calls"):
            call = message["calls"][0]  # {name: arguments}
            name = call["name"] if "name" in call else next(iter(call))
        elif message["role"] == "result":
            result = json.loads(told) if isinstance(told, str) and told.startswith("{") else told
            if isinstance(result, dict):
                done.append((name, result))
                at.append(message["i"])
    return done, at


def _reached(world: World, done: Done, failed: Goal | None) -> tuple[Goal | None, list[int]]:
    """The goal that a run in fact reached, with the places of its proofs in `done`; None where there is none."""
    if isinstance(world, Parcels):
        return world.made(done), [n for n, (tool, _) in enumerate(done) if tool != "check_stock"]
    orders = [(n, result) for n, (tool, result) in enumerate(done) if tool == "place_order"]
    if len(orders) != 1 or not isinstance(failed, Bought):
        return None, []
    place, order = orders[0]
    limit = max(order["price"], failed.limit)
    made = Bought(order["item"], order["quantity"], order["city"], limit)
    if made == failed:  # it kept the bounds, and yet failed: the same wish with a bound moved
        made = replace(made, limit=order["price"] if order["price"] < limit else min(9, limit + 1))
    listed = [n for n, (tool, _) in enumerate(done) if tool == "list_offers"]
    return made, [*listed[-1:], place]


def _better(done: Done, goal: Bought) -> list[str]:
    """The offers seen that serve the goal at a lower price than what was ordered."""
    order = next(result for tool, result in done if tool == "place_order")
    rows = next(result for tool, result in reversed(done) if tool == "list_offers")["offers"]
    offers = [Offer(**row) for row in rows]
    return [each.shop for each in offers if each.serves(goal) and each.price < order["price"]]


def _misread(goal: Goal, world: World, rng: random.Random) -> Goal:
    """The goal with one word read wrong."""
    if isinstance(goal, Parcel):
        slot = rng.choice(["item", "city"])
        words = Parcels.slots["pick" if slot == "item" else "ship"][2]
        return replace(goal, **{slot: rng.choice([word for word in words if word != getattr(goal, slot)])})
    assert isinstance(world, Offers)
    return replace(goal, city=rng.choice([city for city in world.cities if city != goal.city]))


def _proposed(
    marker: str, record: dict[str, Any], done: Done, at: list[int], world: World, errors: ErrorModel, rng: random.Random
) -> dict[str, Any]:
    goal, proofs = _reached(world, done, world.read(record["failed_goal"]))
    valid = goal is not None and not record.get("refused")
    if goal is not None and rng.random() < errors.misread:
        goal = _misread(goal, world, rng)
    messages = [at[n] for n in proofs]
    return {
        "marker": marker,
        "achievements": [{"text": "what was done", "messages": messages}] if valid else [],
        "missed": [],
        "goal": goal.text if goal and valid else "",
        "requirements": [{"text": "what was asked was done", "messages": messages}] if valid else [],
        "last_message": messages[-1] if valid else -1,
        "final_answer": world.truth(done) if valid else "",
        "valid": valid,
        "confidence": 0.9,
        "rationale": "the results show it" if valid else "nothing whole was reached",
    }


def _judged(
    marker: str, record: dict[str, Any], done: Done, at: list[int], world: World, errors: ErrorModel, rng: random.Random
) -> dict[str, Any]:
    goal = world.read(record["goal"])
    if isinstance(world, Parcels):
        true, better = world.made(done) == goal, list[str]()
    else:
        assert isinstance(goal, Bought)
        order = next(result for tool, result in done if tool == "place_order")
        told = (order["item"], order["quantity"], order["city"])
        true = told == (goal.item, goal.quantity, goal.city) and order["price"] <= goal.limit
        better = _better(done, goal) if true else []
    right = true and not better
    says = rng.random() >= errors.rejects if right else rng.random() < errors.accepts
    return {
        "marker": marker,
        "requirements": [{"text": "what was asked was done", "met": says, "messages": at[-1:]}],
        "better_options": better if not says else [],
        "t": says or true,
        "s": True,
        "c": says or not better,
        "w": True,
        "l": True,
        "d": says or true,
        "valid": says,
        "confidence": 0.9,
        "reason": "by the results" if says else "the results show otherwise",
    }
