"""docs/sql.md says what the views are, and its questions are answered on the home of a demo."""

from pathlib import Path
from typing import Any

import pytest

from agenther_live import Live
from agenther_live.buffer.docs import page, questions
from agenther_live.buffer.people.query import Result

ROOT = Path(__file__).resolve().parents[2]
ASKED = questions((ROOT / "examples" / "queries.sql").read_text("utf-8"))
MAY_BE_EMPTY = {11, 13, 15, 17, 19, 22, 23, 24}  # the demo has one judge, no model, no such thread or person, no loss


def test_the_page_is_what_the_schema_says() -> None:
    assert (ROOT / "docs" / "sql.md").read_text("utf-8") == page(ASKED), (
        "python -m agenther_live.buffer.docs examples/queries.sql > docs/sql.md"
    )


def test_each_question_is_asked_once() -> None:
    assert len(ASKED) == 24
    assert len({question.text for question in ASKED}) == 24


@pytest.fixture(scope="module")
def answers(demo_told: tuple[Path, str]) -> list[Result]:
    buffer = Live(demo_told[0]).buffer
    with buffer.hold():
        return [buffer.sql(question.sql) for question in ASKED]


@pytest.mark.parametrize("number", range(1, len(ASKED) + 1))
def test_a_question_is_answered(answers: list[Result], number: int) -> None:
    assert len(answers[number - 1]) > 0 or number in MAY_BE_EMPTY


def test_the_first_answer_is_right(answers: list[Result], demo_home: Path) -> None:
    rows: list[dict[str, Any]] = answers[0].dicts()
    buffer = Live(demo_home).buffer
    counted = dict(
        buffer.sql("SELECT agent, count(*) FROM trajectories WHERE outcome = 'failure' GROUP BY agent").fetchall()
    )
    assert {row["agent"]: row["failed"] for row in rows} == counted
    for row in rows:
        assert row["at_least"] <= row["failure_rate"] <= row["at_most"]
        assert sum(int(part.rsplit(" ", 1)[1]) for part in row["fails_on"].split(", ")) == row["failed"]
        assert row["cost_per_sample_usd"] == 0.0  # rules cost nothing
