"""What the demo tells when it is done: the funnel, one failure that taught something, one lie that was refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from agenther_live import render
from agenther_live.live import Live

__all__ = ["logged", "spending", "tell"]

QUERIES = (
    "select failure_type, count(*) as runs, avg(weight) as weight from failures group by 1 order by runs desc",
    "select goal, hindsight_goal, confidence from goals join trajectories using (trajectory_id) where accepted limit 5",
    "select stage, reason, count(*) as n from relabelings group by 1, 2 order by n desc",
)
SNIPPET = """\
from agenther_live import Live

live = Live("./agenther", relabeler="openai:gpt-4o-mini", judges=["openai:gpt-4.1-mini"], pii="redact")
agent = live.attach(agent)   # your compiled graph
live.start()                 # or `agenther-live worker` in a process of its own
# … later, wherever you learn how a run went:
live.feedback(thread_id="t1", success=False, reason="over budget")"""

_ACCEPTED = """
select t.trajectory_id, t.goal, g.hindsight_goal, g.confidence, a.failure_type, a.weight, f.comment
from goals g
join trajectories t using (trajectory_id)
join analyses a using (trajectory_id)
left join feedback f on f.trajectory_id = t.trajectory_id and f.source = 'evaluator'
where g.accepted
order by (f.comment like 'the order does not meet%') desc, g.confidence desc, t.trajectory_id
limit 1
"""
_LIE = """
select t.trajectory_id, t.goal, t.final_answer, f.comment, t.stage, a.explanation, g.reason
from trajectories t
join feedback f on f.trajectory_id = t.trajectory_id and f.source = 'evaluator'
left join analyses a on a.trajectory_id = t.trajectory_id
left join goals g on g.trajectory_id = t.trajectory_id
where f.comment like 'false claim%' and t.stage = 'rejected'
order by t.trajectory_id
limit 1
"""
_EVIDENCE = """
select action_name, observation from steps
where trajectory_id = ? and not is_error and observation is not null order by idx desc, action_idx desc
"""


def spending(calls: int, tokens: int, usd: float) -> str:
    """Model calls, tokens and cost so far, for the progress bar; empty where no model was called."""
    return f"{calls:,} calls · {tokens:,} tokens · ${usd:.4f}" if calls else ""


def tell(console: Console, live: Live, figures: dict[str, Any]) -> None:
    """Print the story of one demo run."""
    console.print(render.funnel(live.buffer.funnel()))
    console.print()
    _useful(console, live)
    _lie(console, live)
    console.print(
        f"[bold]{figures['captured']} runs, {figures['failed']} failed, {figures['accepted']} of them usable:[/bold] "
        f"success-only training would have had {figures['succeeded']}."
    )
    if figures["llm_calls"]:
        tokens = figures["prompt_tokens"] + figures["completion_tokens"]
        console.print(spending(figures["llm_calls"], tokens, figures["cost_usd"]))
    console.print(f"\nShards: [bold]{render.plain(live.home.shards)}[/bold] (trainers read manifest.jsonl there)")
    console.print("\nAsk the replay buffer:")
    for query in QUERIES:
        console.print(f'  agenther-live sql --home {live.home.path} "{query}"', soft_wrap=True, highlight=False)
    # Without a frame and never wrapped: what is copied off the terminal must still be Python.
    console.print("\n[bold]For your own agent:[/bold]\n")
    console.print(SNIPPET, soft_wrap=True, highlight=False, markup=False)


def logged(console: Console, messages: Sequence[str]) -> None:
    """Tell what the worker logged, each message once."""
    for message in dict.fromkeys(messages):
        console.print(f"\n[dim]The worker's log: {render.plain(message)}[/dim]", soft_wrap=True, highlight=False)


def _useful(console: Console, live: Live) -> None:
    found = live.buffer.sql(_ACCEPTED).dicts()
    if not found:
        console.print("No failure of this run was accepted for another goal.\n")
        return
    row = found[0]
    evidence = live.buffer.sql(_EVIDENCE, [row["trajectory_id"]]).dicts()
    facts = set(re.findall(r"\d[\d.,]*\d|\b\d+\b|\b[A-Z]\w+\b", row["hindsight_goal"])) - {"I", "Please"}
    proof = max(evidence, key=lambda each: sum(fact in each["observation"] for fact in facts), default=None)
    text = Text.assemble(
        ("asked     ", "dim"), f"{row['goal']}\n",
        ("verdict   ", "dim"), (f"failed: {row['comment']}", "red"),
        f" ({row['failure_type']}, w = {row['weight']:.2f})\n",
        ("true for  ", "dim"), (row["hindsight_goal"], "green"), f" (c = {row['confidence']:.2f})\n",
    )  # fmt: skip
    if proof is not None:
        shown = Text(f"{proof['action_name']} → {proof['observation']}")
        shown.highlight_words(sorted(facts, key=len, reverse=True), "bold black on green")
        text = Text.assemble(text, ("evidence  ", "dim"), shown)
    console.print(Panel(text, title="a failure that is true for another goal", title_align="left"))


def _lie(console: Console, live: Live) -> None:
    found = live.buffer.sql(_LIE).dicts()
    if not found:
        return
    row = found[0]
    text = Text.assemble(
        ("asked     ", "dim"), f"{row['goal']}\n",
        ("answered  ", "dim"), f"{row['final_answer']}\n",
        ("truth     ", "dim"), (str(row["comment"]), "red"), "\n",
        ("refused   ", "dim"), f"{row['explanation'] or row['reason']}",
    )  # fmt: skip
    console.print(Panel(text, title="a lying “done” that was refused", title_align="left"))
