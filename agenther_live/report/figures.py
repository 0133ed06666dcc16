"""What the report shows, asked from the public views: rows as they come, nothing drawn yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Row = Mapping[str, Any]
Rows = Sequence[Row]

DAYS = 90
"""How many days back the plots over time go."""

QUERIES = {
    "days": f"""
        select day, sum(captured) as captured, sum(succeeded) as succeeded, sum(failed) as failed,
               sum(accepted) as accepted
        from funnel_days where day is not null group by day order by day desc limit {DAYS}""",
    "failure_types": """
        select failure_type, count(*) as failures, count(*) filter (where g.trajectory_id is not null) as accepted
        from failures f
        left join (select distinct trajectory_id from goals where accepted) g on g.trajectory_id = f.trajectory_id
        where failure_type is not null group by failure_type order by failures desc""",
    "refusals": """
        select r.reason, count(*) as trajectories
        from relabelings r join trajectories t on t.trajectory_id = r.trajectory_id and t.stage = r.stage
        where r.stage in ('rejected', 'errored') group by r.reason order by trajectories desc limit 20""",
    "costs": f"select * from sample_costs where day is not null order by day desc limit {DAYS}",
    "agreement": "select * from judge_agreement order by goals desc limit 20",
    "rates": """
        select * from success_rates where success_rate is not null order by agent, policy_version limit 40""",
    "goals": """
        select t.agent, t.goal, g.hindsight_goal, g.confidence, a.failure_type
        from goals g join trajectories t on t.trajectory_id = g.trajectory_id
        left join analyses a on a.trajectory_id = g.trajectory_id
        where g.accepted order by t.finished_at desc limit 15""",
}


class Asked(Protocol):
    """The rows of an answer."""

    def dicts(self) -> list[dict[str, Any]]:
        """Give the rows, each as a dict."""
        ...


class Askable(Protocol):
    """What answers SQL and knows the funnel: the replay buffer."""

    def sql(self, query: str) -> Asked:
        """Run one reading statement."""
        ...

    def funnel(self) -> list[dict[str, Any]]:
        """Give the funnel's steps {step, n, dropped}."""
        ...


@dataclass(frozen=True)
class Figures:
    """All that a page is made of; `over_time` rows come oldest first."""

    status: Row
    funnel: Rows
    days: Rows
    failure_types: Rows
    refusals: Rows
    costs: Rows
    agreement: Rows
    rates: Rows
    goals: Rows


def collect(buffer: Askable, status: Row) -> Figures:
    """Ask the buffer for everything; `status` is that of `Live.status()`."""
    found = {name: buffer.sql(query).dicts() for name, query in QUERIES.items()}
    for name in ("days", "costs"):
        found[name].reverse()
    return Figures(status=status, funnel=buffer.funnel(), **found)
