"""Runs as no agent should make them: relabeling ends with a reason, whatever stands in a trajectory."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from agenther_live.relabel import Policy, RulesJudge, TemplateRelabeler, relabel, success_sample
from agenther_live.relabel.judges.prompts import detect_prompt
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.signals import signals
from agenther_live.trajectory import Action, Outcome, Trajectory
from tests.relabel.build import FAILED, trajectory
from tests.relabel.world import bought

ODD_TEXT = st.sampled_from(
    ["", "null", "[]", "{}", "{'a': {1, 2}}", '{"a": NaN}', "[" * 3000, '{"rows": [{"x": 1}, 2]}', "Error", "\x00",
     "9" * 5000,
     '{"supplier": "Acme", "total": "12"}',
     '"text"', "é" * 300, "1e999", '{"a": ' * 60 + "1" + "}" * 60, "#", "…", "40"]
) | st.text(max_size=60)  # fmt: skip
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["supplier", "total", "item", "x", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def odd_runs(draw: st.DrawFn) -> Trajectory:
    messages = [message.wire() for message in bought().messages]
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(messages) - 1)) if messages else 0
        what = draw(st.sampled_from(["drop", "twice", "text", "args", "result", "role", "swap", "parts"]))
        if not messages:
            break
        message = messages[at]
        if what == "drop":
            del messages[at]
        elif what == "twice":
            messages.insert(at, message)
        elif what == "text":
            messages[at] = {**message, "content": draw(ODD_TEXT)}
        elif what == "args" and message.get("tool_calls"):
            call = message["tool_calls"][0]
            arguments = draw(ODD_TEXT | ODD_JSON.map(lambda value: json.dumps(value)))
            name = draw(
                st.sampled_from([call["function"]["name"], "", "bash", "finish", "place_order", "ключ", "get__quote"])
            )
            messages[at] = {**message, "tool_calls": [{**call, "function": {"name": name, "arguments": arguments}}]}
        elif what == "result" and message["role"] == "tool":
            messages[at] = {**message, "content": json.dumps(draw(ODD_JSON))}
        elif what == "role":
            messages[at] = {
                "role": draw(st.sampled_from(["system", "user", "assistant"])),
                "content": message.get("content"),
            }
        elif what == "swap":
            messages[at], messages[-1] = messages[-1], messages[at]
        elif what == "parts":
            messages[at] = {
                **message,
                "content": [{"type": "text", "text": draw(ODD_TEXT)}, {"type": "thinking", "x": 1}],
            }
    if not messages:
        return Trajectory(trajectory_id="empty")
    run = trajectory(messages, goal=draw(st.sampled_from([bought().goal, "", "x"]) | ODD_TEXT))
    if run.steps and draw(st.booleans()):
        odd = Action(
            name=draw(ODD_TEXT),
            input=draw(ODD_TEXT),
            observation=draw(st.none() | ODD_TEXT),
            observation_index=draw(st.none() | st.integers(0, len(messages) - 1)),
        )
        run = run.model_copy(update={"steps": (*run.steps[:-1], run.steps[-1].model_copy(update={"actions": (odd,)}))})
    return run.model_copy(update={"context_len": draw(st.integers(0, 3))})


@settings(deadline=None, max_examples=60)
@given(odd_runs())
def test_every_run_ends_with_a_reason(run: Trajectory) -> None:
    done = asyncio.run(
        relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()], policy=Policy(delta=0.0))
    )
    assert done.stage in ("relabeled", "rejected")
    assert done.reason
    assert (done.sample is not None) == (done.stage == "relabeled")
    if done.sample is not None:
        assert all(each.message.role == "assistant" for each in done.sample.messages if each.train)
    seen = view(run)
    assert len(detect_prompt(seen, FAILED, signals(seen), Policy()).messages) == 2
    sample = success_sample(run, Outcome(label="success"), 1)
    assert sample is None or any(each.train for each in sample.messages)
