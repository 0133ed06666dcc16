"""The demo's world: its facts, its agents on real graphs, and the truth about what they did."""

import asyncio
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langgraph.errors import GraphRecursionError

from agenther_live.demo import DEFAULT_SEED, catalogue
from agenther_live.demo.agents import build_agents
from agenther_live.demo.catalogue import Offer, Refused
from agenther_live.demo.goals import Requirements, best_offer, read_goal
from agenther_live.demo.habits import Habit, temperament
from agenther_live.demo.policy import PolicyChatModel
from agenther_live.demo.tasks import Task, make_tasks
from agenther_live.demo.truth import beaten_by, goal_is_true, judge_run, stated_offers
from agenther_live.demo.world import ToolTimeout, World, build_tools, timeouts

AGENTS = ("buyer", "sourcer")


@dataclass(frozen=True)
class Run:
    task: Task
    agent: str
    messages: tuple[Any, ...]  # empty where the run ended with a recursion error
    orders: tuple[Offer, ...]
    success: bool
    reason: str

    @property
    def habit(self) -> Habit:
        return temperament(self.task.goal, seed=DEFAULT_SEED).habit

    @property
    def answer(self) -> str | None:
        return self.messages[-1].text if self.messages else None

    @property
    def observations(self) -> list[str]:
        return [str(each.content) for each in self.messages if isinstance(each, ToolMessage)]


def config(task: Task) -> dict[str, Any]:
    return {"configurable": {"thread_id": task.task_id}}


def question(task: Task) -> dict[str, Any]:
    return {"messages": [("user", task.goal)]}


def finished(world: World, task: Task, agent: str, messages: list[Any]) -> Run:
    orders = world.orders(task.task_id)
    success, reason = judge_run(task, orders, messages[-1].text if messages else None)
    return Run(task, agent, tuple(messages), orders, success, reason)


ASYNC = 24  # of the sixty tasks


@cache
def sync_runs() -> list[Run]:
    world, tasks = World(), make_tasks()
    agents = build_agents(world)

    def run(number: int) -> Run:
        task, name = tasks[number], AGENTS[number % 2]
        try:
            messages = agents[name].invoke(question(task), config(task))["messages"]
        except GraphRecursionError:
            messages = []
        return finished(world, task, name, messages)

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(run, range(len(tasks))))


@cache
def async_runs() -> list[Run]:
    world, tasks = World(), make_tasks()
    agents = build_agents(world)

    async def run(number: int) -> Run:
        task, name = tasks[number], AGENTS[number % 2]
        try:
            messages = (await agents[name].ainvoke(question(task), config(task)))["messages"]
        except GraphRecursionError:
            messages = []
        return finished(world, task, name, messages)

    async def all_of_them() -> list[Run]:
        return await asyncio.gather(*(run(number) for number in range(ASYNC)))

    return asyncio.run(all_of_them())


def transcript(run: Run) -> list[tuple[Any, ...]]:
    return [
        (m.type, m.text, getattr(m, "tool_calls", None), getattr(m, "tool_call_id", None), getattr(m, "status", None))
        for m in run.messages
    ]


# The facts


def test_every_listing_and_route_is_complete():
    for item, sellers in catalogue.LISTINGS.items():
        assert sellers.keys() <= catalogue.SUPPLIERS.keys()
        assert list(sellers) == sorted(sellers)
        assert catalogue.LOOKALIKES[catalogue.LOOKALIKES[item]] == item
    for supplier in catalogue.SUPPLIERS:
        for city in catalogue.CITIES:
            cost, days = catalogue.shipping(supplier, city)
            assert cost > 0
            assert days >= 1


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("Atlas Office", "sofa", 1, "Lyon"), "unknown item"),
        (("Gantry Goods", "office chair", 10, "Lyon"), "does not sell"),
        (("Delta Supply", "office chair", 49, "Lyon"), "minimum order of 50"),
        (("Emerald Interiors", "office chair", 61, "Lyon"), "only 60"),
        (("Atlas Office", "office chair", 10, "Paris"), "no delivery to Paris"),
    ],
)
def test_offers_that_a_supplier_refuses(args, reason):
    with pytest.raises(Refused, match=reason):
        catalogue.offer(*args)


def test_an_offer_adds_up():
    offer = catalogue.offer("Brightworks", "Office Chairs", 40, "Lyon")
    assert offer == Offer("Brightworks", "office chair", 40, "Lyon", 124.5, 4980.0, 109.1, 5089.1, 5)


# The tasks


@pytest.mark.parametrize("seed", range(12))
def test_goals_in_words_say_what_the_requirements_say(seed):
    tasks = make_tasks(seed=seed)
    assert len({task.goal for task in tasks}) == len({task.task_id for task in tasks}) == len(tasks) == 60
    for task in tasks:
        assert read_goal(task.goal) == task.requirements
        enough = len(catalogue.offers(task.requirements.item, task.requirements.quantity, task.requirements.city))
        possible = best_offer(task.requirements) is not None and enough >= task.requirements.min_quotes
        assert task.satisfiable is possible


def test_tasks_are_seeded_and_extend():
    assert make_tasks(100)[:60] == make_tasks(60)
    assert make_tasks(10, seed=1) != make_tasks(10, seed=2)
    kinds = Counter((task.requirements.action, task.satisfiable) for task in make_tasks(200))
    assert all(kinds[action, satisfiable] >= 15 for action in ("order", "quote") for satisfiable in (True, False))


def test_reading_goals_that_hindsight_may_set():
    assert read_goal("Tell me a joke") is None
    assert read_goal("Which suppliers sell desk lamps?") == Requirements(action="find", item="desk lamp")
    assert read_goal("Order 5 whiteboards from Corvo Trade.") == Requirements(
        action="order", item="whiteboard", quantity=5, supplier="Corvo Trade"
    )


# The world and its tools


def test_orders_belong_to_their_task_and_draw_on_its_stock():
    world = World()

    def order(number: int) -> bool:
        try:
            world.place(f"task-{number % 2}", "Emerald Interiors", "office chair", 10, "Lyon")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(order, range(40))) == 12  # 60 in stock, for each of two tasks
    assert len(world.orders("task-0")) == len(world.orders("task-1")) == 6
    assert world.orders("task-2") == ()


def faulty(service: str) -> tuple[str, str, int]:
    """A task, supplier and number of timeouts of the default world."""
    for number in range(500):
        for supplier in catalogue.SUPPLIERS:
            failures = timeouts(DEFAULT_SEED, f"t{number}", service, supplier)
            if failures == 1:
                return f"t{number}", supplier, failures
    raise AssertionError("no such task")


def test_timeouts_are_the_task_s_own_and_change_nothing():
    task_id, supplier, _ = faulty("place_order")
    item = next(item for item, sellers in catalogue.LISTINGS.items() if supplier in sellers)
    world, args = World(), {"supplier": supplier, "item": item, "quantity": 50, "city": "Lyon"}
    place = build_tools(world)[-1]
    with pytest.raises(ToolTimeout, match="timed out"):
        place.invoke(args, {"configurable": {"thread_id": task_id}})
    assert world.orders(task_id) == ()
    row = json.loads(place.invoke(args, {"configurable": {"thread_id": task_id}}))
    assert Offer.from_row(row) == world.orders(task_id)[0]
    assert row["status"] == "confirmed"


def test_tools_raise_or_turn_their_errors_into_messages():
    call = {"type": "tool_call", "id": "1", "name": "check_stock", "args": {"supplier": "Nobody", "item": "pinboard"}}
    with pytest.raises(Refused, match="does not sell"):
        build_tools(World())[1].invoke(call)
    message = build_tools(World(), handle_errors=True)[1].invoke(call)
    assert (message.status, message.content) == ("error", "Nobody does not sell pinboards")


# The chat model


def test_the_model_binds_schemas_and_replies_the_same_in_every_way():
    tools = build_tools(World())
    model = PolicyChatModel().bind_tools(tools)
    names = [each["function"]["name"] for each in model.kwargs["tools"]]
    assert names == ["list_suppliers", "check_stock", "shipping_quote", "get_quote", "place_order"]

    conversation = [HumanMessage("Please order 40 office chairs for our Lyon office, within 6 days.")]
    reply = model.invoke(conversation)
    streamed = AIMessageChunk(content="")
    for chunk in model.stream(conversation):
        streamed += chunk

    async def rest() -> tuple[AIMessage, AIMessageChunk]:
        joined = AIMessageChunk(content="")
        async for piece in model.astream(conversation):
            joined += piece
        return await model.ainvoke(conversation), joined

    areply, astreamed = asyncio.run(rest())
    for other in (model.invoke(conversation), areply, streamed, astreamed):
        assert (other.text, other.tool_calls, other.usage_metadata) == (
            reply.text,
            reply.tool_calls,
            reply.usage_metadata,
        )
    assert reply.tool_calls[0]["name"] == "list_suppliers"


def test_a_goal_without_an_item_is_asked_back():
    assert "Which item" in PolicyChatModel().invoke("Hello!").text


# The agents


def test_concurrent_runs_go_the_same_way_sync_and_async():
    for first, second in zip(sync_runs()[:ASYNC], async_runs(), strict=True):
        assert transcript(first) == transcript(second)
        assert (first.orders, first.success, first.reason) == (second.orders, second.success, second.reason)


def test_every_call_is_answered_and_both_agents_see_errors():
    parallel, errors = Counter[str](), Counter[str]()
    for run in sync_runs():
        asked = [call["id"] for m in run.messages if isinstance(m, AIMessage) for call in m.tool_calls]
        answered = [m.tool_call_id for m in run.messages if isinstance(m, ToolMessage)]
        assert asked == answered
        assert len(set(asked)) == len(asked)
        parallel[run.agent] += any(isinstance(m, AIMessage) and len(m.tool_calls) > 1 for m in run.messages)
        errors[run.agent] += any(isinstance(m, ToolMessage) and m.status == "error" for m in run.messages)
    for name in AGENTS:
        assert 5 <= parallel[name] <= 25
        assert errors[name] >= 3


def test_an_agent_that_never_stops_ends_in_a_recursion_error():
    endless = [run for run in sync_runs() if not run.messages]
    assert 1 <= len(endless) <= 4
    assert {run.reason for run in endless} == {"the run ended without a final answer"}


def test_streaming_gives_the_same_end():
    run = next(run for run in sync_runs() if run.success)
    agent = build_agents(World())[run.agent]
    *_, last = agent.stream(question(run.task), config(run.task), stream_mode="values")
    assert last["messages"][-1].text == run.answer


@pytest.mark.parametrize("name", AGENTS)
def test_two_turns_of_one_thread(name):
    agent = build_agents(World(), checkpoints=True)[name]
    where = {"configurable": {"thread_id": "two turns"}}
    first = agent.invoke({"messages": [("user", "What would 10 pinboards cost us delivered to Lyon?")]}, where)
    second = agent.invoke({"messages": [("user", "What would 10 whiteboards cost us delivered to Lyon?")]}, where)
    answers = [m.text for m in second["messages"] if isinstance(m, AIMessage) and not m.tool_calls]
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert len(answers) == 2
    assert "pinboards" in answers[0]
    assert "whiteboards" in answers[1]


# The mix of the default seed


def test_the_default_sixty_fail_in_every_way_and_sometimes_succeed():
    runs = sync_runs()
    assert 9 <= sum(run.success for run in runs) <= 20
    assert {run.habit for run in runs if not run.success} == set(Habit)
    assert sum("timed out" in text for run in runs for text in run.observations) >= 8
    assert sum(run.reason.startswith("false claim") for run in runs) >= 3
    assert all(run.task.satisfiable for run in runs if run.success)


def test_most_failures_hold_a_true_demonstration_and_some_do_not():
    failed = [run for run in sync_runs() if not run.success]
    bought = [run for run in failed if len(run.orders) == 1]
    beaten = [run for run in bought if beaten_by(run.orders[0], run.observations)]
    compared = [
        run
        for run in failed
        if not run.orders and run.answer and any(stated_offers_anywhere(run.answer, text) for text in run.observations)
    ]
    assert len(beaten) >= 2
    assert len(bought) - len(beaten) + len(compared) >= 23
    assert len(failed) - (len(bought) - len(beaten)) - len(compared) >= 8


def stated_offers_anywhere(answer: str, observation: str) -> bool:
    """Whether the answer states the quote that this observation holds."""
    try:
        offer = Offer.from_row(json.loads(observation))
    except (ValueError, KeyError):
        return False
    wish = Requirements(action="quote", item=offer.item, quantity=offer.quantity, city=offer.city)
    return offer in stated_offers(wish, answer)


# The truth


ORDER = Task(
    "t",
    "Please order 40 office chairs for our Lyon office, for at most 5,200 EUR in total, within 6 days.",
    Requirements(action="order", item="office chair", quantity=40, city="Lyon", max_total=5200, max_days=6),
    True,
)
BRIGHTWORKS = catalogue.offer("Brightworks", "office chair", 40, "Lyon")
ATLAS = catalogue.offer("Atlas Office", "office chair", 40, "Lyon")


@pytest.mark.parametrize(
    ("orders", "answer", "success", "reason"),
    [
        ([BRIGHTWORKS], "Ordered.", True, "ordered as asked"),
        ([BRIGHTWORKS], "", False, "without a final answer"),
        ([BRIGHTWORKS], None, False, "without a final answer"),
        ([], "I ordered 40 office chairs from Brightworks.", False, "false claim"),
        ([], "Done! Your 40 office chairs are ordered.", False, "false claim"),
        ([], "I did not place an order.", False, "^no order was placed"),
        ([BRIGHTWORKS, BRIGHTWORKS], "Ordered.", False, "2 orders"),
        ([ATLAS], "Ordered.", False, "5,596.20 EUR in total is above the limit of 5,200.00 EUR"),
        ([replace(BRIGHTWORKS, city="Lisbon")], "Ordered.", False, "delivery to Lisbon"),
        ([replace(BRIGHTWORKS, quantity=50)], "Ordered.", False, "50 office chairs instead of 40"),
        ([replace(BRIGHTWORKS, item="desk lamp")], "Ordered.", False, "desk lamps instead of office chairs"),
        ([replace(BRIGHTWORKS, delivery_days=7)], "Ordered.", False, "delivery takes 7 days, the limit is 6 days"),
    ],
)
def test_judging_an_order(orders, answer, success, reason):
    verdict, why = judge_run(ORDER, orders, answer)
    assert verdict is success
    assert re.search(reason, why)


def test_judging_the_cheapest():
    task = replace(ORDER, requirements=replace(ORDER.requirements, max_total=None, max_days=None, cheapest=True))
    assert judge_run(task, [BRIGHTWORKS], "Ordered.")[0]
    assert judge_run(task, [ATLAS], "Ordered.") == (False, "ordered at 5,596.20 EUR where 5,089.10 EUR was to be had")


QUOTE = Task(
    "q",
    "Get me a quote for 40 office chairs delivered to Lyon, within 6 days. Only the quote please.",
    Requirements(action="quote", item="office chair", quantity=40, city="Lyon", max_days=6),
    True,
)


@pytest.mark.parametrize(
    ("changes", "orders", "answer", "success", "reason"),
    [
        ({}, [], "Brightworks asks 5,089.10 EUR in total for 40 office chairs.", True, "a true quote: Brightworks"),
        ({}, [BRIGHTWORKS], "Brightworks asks 5,089.10 EUR in total.", False, "only a quote was asked"),
        ({}, [], "Brightworks asks 4,000.37 EUR in total for 40 office chairs.", False, "false claim"),
        ({}, [], "I could not finish this.", False, "0 true quotes of 1"),
        ({"min_quotes": 2}, [], "Brightworks: 5,089.10 EUR in total.", False, "1 true quotes of 2"),
        ({"min_quotes": 2}, [], "Brightworks: 5,089.10 EUR; Atlas Office: 5,596.20 EUR.", True, "a true quote"),
        ({"cheapest": True}, [], "Atlas Office: 5,596.20 EUR in total.", False, "a cheaper quote exists: 5,089.10"),
        ({"max_days": 4}, [], "Brightworks: 5,089.10 EUR in total.", False, "delivery takes 5 days"),
    ],
)
def test_judging_a_quote(changes, orders, answer, success, reason):
    task = replace(QUOTE, requirements=replace(QUOTE.requirements, **changes))
    verdict, why = judge_run(task, orders, answer)
    assert verdict is success
    assert re.search(reason, why)


def test_the_evaluator_and_the_ground_truth_agree_on_the_goals_that_were_asked():
    for run in sync_runs():
        if run.messages:
            wish = run.task.requirements
            assert goal_is_true(wish, run.orders, run.observations, run.answer) == run.success, run.task.goal


def test_an_order_is_true_for_the_goal_that_describes_it_and_false_for_its_neighbours():
    bought = [run for run in sync_runs() if len(run.orders) == 1 and not run.success]
    for run in bought:
        order = run.orders[0]
        told = Requirements(
            action="order",
            item=order.item,
            quantity=order.quantity,
            city=order.city,
            max_total=order.total,
            max_days=order.delivery_days,
        )
        assert goal_is_true(told, run.orders, run.observations)
        for change in (
            {"item": catalogue.LOOKALIKES[order.item]},
            {"quantity": order.quantity + 1},
            {"city": next(city for city in catalogue.CITIES if city != order.city)},
            {"max_total": order.total - 0.01},
            {"max_days": order.delivery_days - 1},
            {"action": "quote"},
            {"action": "find"},
        ):
            assert not goal_is_true(replace(told, **change), run.orders, run.observations)


def test_hindsight_goals_about_quotes():
    seen = [json.dumps(asdict(each)) for each in (ATLAS, BRIGHTWORKS)] + ["Error: timed out", "[]", "7"]
    wish = replace(QUOTE.requirements, max_days=None)
    assert goal_is_true(wish, [], seen)
    assert goal_is_true(replace(wish, quantity=None, city=None, cheapest=True), [], seen)
    assert goal_is_true(replace(wish, min_quotes=2), [], seen)
    assert not goal_is_true(replace(wish, min_quotes=3), [], seen)
    assert not goal_is_true(replace(wish, cheapest=True), [], seen[:1])
    assert not goal_is_true(replace(wish, supplier="Delta Supply"), [], seen)
    assert goal_is_true(wish, [], seen, "Atlas Office: 5,596.20 EUR.")
    assert not goal_is_true(replace(wish, cheapest=True), [], seen, "Atlas Office: 5,596.20 EUR.")
    assert not goal_is_true(wish, [], seen, "Atlas Office: 5,000.00 EUR.")
    assert goal_is_true(Requirements(action="find", item="office chair"), [], seen)
    assert not goal_is_true(Requirements(action="find", item="desk lamp"), [], seen)
    assert not goal_is_true(Requirements(action="find", item="office chair"), [], seen[2:])


def test_an_order_is_beaten_only_by_what_the_run_saw_of_the_same():
    gantry = catalogue.offer("Gantry Goods", "desk lamp", 20, "Lisbon")
    corvo = catalogue.offer("Corvo Trade", "desk lamp", 20, "Lisbon")
    assert beaten_by(gantry, [asdict(gantry), asdict(corvo)]) == corvo
    assert beaten_by(gantry, [asdict(gantry)]) is None
    assert beaten_by(corvo, [asdict(gantry), asdict(corvo)]) is None
    assert beaten_by(gantry, [asdict(replace(corvo, city="Lyon"))]) is None
