"""A deed that was only taken in to be done later is not taught as done; what asks for no more, or says so, is."""

from __future__ import annotations

from typing import Any

import pytest

from agenther_live.labels import Relabeling
from agenther_live.relabel.checks.claims import waiting_claims
from agenther_live.relabel.checks.queued import only_queued
from agenther_live.relabel.demonstrate import success_sample
from agenther_live.relabel.reading.calls import view
from agenther_live.trajectory import Outcome
from tests.relabel.build import says, trajectory, user, uses
from tests.relabel.lies import Lie, teach

GOAL, SENT = "Send the report of May to Ann.", "I sent the report of May to Ann."
TAKEN_IN = {"status": "queued", "id": "M-1"}


def taught(result: Any, goal: str = GOAL, answer: str = SENT, *, tool: str = "send_report") -> Relabeling:
    asked = "Send the report of May to Ann, and one to Bob within 5 seconds."
    steps = [[tool, {"month": "May", "to": "Ann"}, result]]
    return teach(Lie("", "", "", False, False, None, asked, steps, goal, answer))


@pytest.mark.parametrize(
    "result",
    [
        TAKEN_IN, {"status": "pending"}, {"state": "scheduled"}, {"status": "in_progress"}, {"result": "processing"},
        {"message": "Accepted for processing."}, {"status": 202, "id": "M-1"}, {"queued": True, "id": "M-1"},
        {"data": {"status": "queued"}}, "Your message was queued.", "Request accepted for processing.",
    ],
)  # fmt: skip
def test_what_is_queued_is_not_called_done(result: Any) -> None:
    assert taught(result).sample is None
    assert taught(result, answer="Here you are, Ann has it.").sample is None  # no claim that could be read
    assert taught(result, answer="The report of May to Ann is queued.").sample is not None
    told = "I queued the report of May for Ann."
    assert taught(result, "Queue the report of May for Ann.", told).sample is not None


@pytest.mark.parametrize(
    ("tool", "result"),
    [
        ("send_report", {"status": "sent"}), ("send_report", "Report of May sent to Ann."),
        ("submit_report", {"status": "pending"}), ("update_report", {"to": "Ann", "status": "pending"}),
        ("schedule_report", {"status": "scheduled"}), ("send_report", {"status": "in transit"}),
    ],
)  # fmt: skip
def test_what_is_done_may_be_called_so_whatever_becomes_of_it(tool: str, result: Any) -> None:
    verb = tool.partition("_")[0]
    done = taught(result, f"Please {verb} the report of May to Ann.", f"The {verb} of May for Ann is made.", tool=tool)
    assert done.sample is not None, done.detail


def test_a_later_look_that_shows_it_done_is_believed() -> None:
    for status, waits in (("delivered", False), ("queued", True)):
        run = view(
            trajectory(
                [
                    user(GOAL),
                    *uses("send_report", {"to": "Ann"}, TAKEN_IN),
                    *uses("get_report", {"id": "M-1"}, {"id": "M-1", "status": status}),
                    says(SENT),
                ]
            )
        )
        assert (only_queued(run.calls[0], run.calls) is not None) is waits
        assert bool(waiting_claims(SENT, run)) is waits


def test_whoever_called_it_a_success_knows_that_it_was_sent() -> None:
    run = trajectory([user(GOAL), *uses("send_report", {"to": "Ann"}, TAKEN_IN), says(SENT)])
    sample = success_sample(run, Outcome(label="success"), 1)
    assert sample is not None
    assert sample.messages[-1].train
