"""What is stored of plain data is what the model would have stored, and what the model refuses is refused."""

import copy
import gc
from typing import Any

import pytest
from pydantic import ValidationError

from agenther_live import assemble as assembling
from agenther_live.assemble import Told, assemble, tell
from agenther_live.buffer.engines.engine import Columns
from agenther_live.buffer.intake import rows
from agenther_live.trajectory import Trajectory
from tests.buffer.journal_facts import at, run


def made_of(told: Told) -> list[Any]:
    messages, steps = Columns(rows.MESSAGE), Columns(rows.STEP)
    rows.put_messages(told, messages)
    rows.put_steps(told, steps)
    return [rows.trajectory_row(told, now=at(0)), *(list(some) for some in (rows.run_rows(told), messages, steps))]


def test_rows_of_plain_data_are_those_of_the_model() -> None:
    foreign = {"vendor": {"n": 1}, "tags": ["a", "b"], "metadata": {"half": 0.5, "none": None}, "subject": "somebody"}
    facts = [run("a", status="interrupted", waits_at="c", steps=2).records, run("b", resumes="c", **foreign).records]
    message = next(item for item in facts[1][1]["f"] if item["t"] == "msg")["msg"]
    message |= {"refusal": None, "content": [{"type": "text", "text": "said in parts"}]}
    message["tool_calls"][0]["index"] = 0
    told, model = tell(facts, trajectory_id="a"), assemble(facts, trajectory_id="a")
    assert made_of(told) == made_of(Told.of(model))
    assert told.with_status("abandoned").trajectory == model.model_copy(update={"status": "abandoned"})
    assert Trajectory.model_validate_json(told.payload()) == model


WRONG: list[tuple[tuple[Any, ...], Any]] = [
    (("agent",), 7),
    (("status",), "gone"),
    (("tags",), (1,)),
    (("metadata",), []),
    (("messages", 0, "role"), "nobody"),
    (("messages", 0, "content"), 5),
    (("messages", 0, "content"), ["text"]),
    (("messages", 1, "tool_calls"), [{"id": "x"}]),
    (("messages", 1, "tool_calls", 0, "function", "name"), None),
    (("messages", 1, "tool_call_id"), {}),
    (("steps", 0, "actions", 0, "input"), {"q": 1}),
    (("runs", 0, "prompt_tokens"), "many"),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[".".join(map(str, path)) for path, _ in WRONG])
def test_what_the_model_refuses_is_refused(path: tuple[Any, ...], value: Any) -> None:
    fields = copy.deepcopy(dict(tell([run("a").records], trajectory_id="a").fields))
    place: Any = fields
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        Told(fields)


def test_what_the_model_changes_is_stored_as_the_model_has_it() -> None:
    fields = dict(tell([run("a").records], trajectory_id="a").fields)
    fields["runs"] = [{**fields["runs"][0], "prompt_tokens": 30.0}]
    told = Told(fields)
    assert made_of(told) == made_of(Told.of(told.trajectory))
    assert b'"prompt_tokens":30,' in told.payload()


def test_nothing_of_an_assembly_waits_for_the_collector() -> None:
    facts = [run("a", status="interrupted", waits_at="c", steps=2).records, run("b", resumes="c").records]
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)  # what it finds is kept, and shows; what earlier tests left is among it
    try:
        tell(facts, trajectory_id="a")
        gc.collect()
        assert [one for one in gc.garbage if type(one).__module__.startswith(assembling.__name__)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
