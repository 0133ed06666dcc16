"""The worker's part in trust: which items get a canary, when emission pauses, and when people's labels take effect."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from agenther_live.buffer.engines.engine import done_again
from agenther_live.buffer.people import reviews, trust
from agenther_live.buffer.store import Buffer, Claim
from agenther_live.ids import content_hash
from agenther_live.labels import Relabeling
from agenther_live.relabel.judges.judge import RulesJudge
from agenther_live.relabel.models import Judge, Policy, Relabeler, UserGoal
from agenther_live.relabel.trust.canaries import Probe

__all__ = [
    "UNDO_SECONDS",
    "Desk",
    "apply",
    "before_emission",
    "cheapest_first",
    "figures",
    "judges_itself",
    "open_desk",
]

logger = logging.getLogger("agenther_live")

UNDO_SECONDS = 600.0
"""How long a label may be undone after the session that gave it was killed; a session that ends applies its own."""


def judges_itself(relabeler: Relabeler | None, judges: Sequence[Judge]) -> bool:
    """Whether a judge is the model that proposes the goals, by whatever address."""
    return relabeler is not None and any(judge.name == relabeler.name for judge in judges)


def cheapest_first(judges: Sequence[Judge]) -> list[Judge]:
    """Order a panel so that a no costs little: `rules`, then by price.

    Judges whose price nobody knows (local models, objects) keep the places that the user gave them.
    """
    rules: list[Judge] = [judge for judge in judges if isinstance(judge, RulesJudge)]
    others = [judge for judge in judges if not isinstance(judge, RulesJudge)]
    if len(others) < 2:  # and no list of prices is loaded
        return rules + others
    prices = [_price(judge) for judge in others]
    order = iter(sorted((price, at) for at, price in enumerate(prices) if price is not None))
    return rules + [others[at if price is None else next(order)[1]] for at, price in enumerate(prices)]


def _price(judge: Judge) -> float | None:
    """What a usual question costs."""
    found = getattr(getattr(judge, "model", None), "price", None)
    return found(3000, 200) if found else None


class Desk:
    """One round of relabeling, seen from the side of trust: its claims, and which of them get a canary."""

    def __init__(
        self, judges: Sequence[Judge], policy: Policy, claims: Sequence[Claim], *, share: float, chosen: frozenset[str]
    ) -> None:
        """Watch a round; `open_desk` chooses."""
        self._judges, self._policy, self._share, self._chosen = judges, policy, share, chosen
        self._goals: Mapping[str, Sequence[UserGoal]] = _by_agent(claims)
        self._probes: dict[str, Probe] = {}

    def judges(self, claim: Claim) -> Sequence[Judge]:
        """The panel to relabel this claim with."""
        if not self._share:
            return self._judges
        key = claim.trajectory_id
        chosen = key in self._chosen
        others = self._goals.get(claim.trajectory.agent, ()) if chosen else ()
        others = [other for other in others if other.trajectory_id != key]
        self._probes[key] = probe = Probe(self._judges, chosen=chosen, others=others)
        return probe.judges

    async def closed(self, claim: Claim, relabeling: Relabeling) -> Relabeling:
        """Put the claim's canary to the panel, if it gets one, and give the relabeling with it."""
        probe = self._probes.pop(claim.trajectory_id, None)
        if probe is None or relabeling.stage == "errored":
            return relabeling
        return await probe.closed(claim.trajectory, claim.outcome, claim.outcome_rev, self._policy, relabeling)


def _by_agent(claims: Sequence[Claim]) -> Mapping[str, Sequence[UserGoal]]:
    found: dict[str, list[UserGoal]] = {}
    for claim in claims:
        found.setdefault(claim.trajectory.agent, []).append(UserGoal(claim.trajectory.goal, claim.trajectory_id))
    return found


def open_desk(buffer: Buffer, judges: Sequence[Judge], policy: Policy, claims: Sequence[Claim], share: float) -> Desk:
    """Choose the claims that get a canary, so that canaries stay a share of all items that the panel is asked about.

    The same claims give the same choice. A round catches up with at most twice the share.
    """
    chosen: frozenset[str] = frozenset()
    if share and claims:
        with buffer.reading() as tx:
            so_far = trust.judged(tx)
        due = min(int(share * (so_far.items + len(claims))) - so_far.canaries, max(1, round(2 * share * len(claims))))
        ordered = sorted(claims, key=lambda claim: content_hash([claim.trajectory_id, claim.outcome_rev]))
        chosen = frozenset(claim.trajectory_id for claim in ordered[: max(0, due)])
    return Desk(judges, policy, claims, share=share, chosen=chosen)


def before_emission(buffer: Buffer, judges: Sequence[Judge], *, now: datetime) -> str | None:
    """Let labels take effect that nobody undid in time, and say why nothing may be published; None: it may.

    Emission pauses while a judge of this panel drifts and no person cleared it.
    """
    before = now - timedelta(seconds=UNDO_SECONDS)
    with buffer.reading() as tx:
        found, due = trust.drifts(tx), reviews.labels_due(tx, before=before)
    if due:
        done = apply(buffer, before=before, now=now)
        logger.info("labels took effect: %s", ", ".join(f"{n} {what}" for what, n in sorted(done.items())))
    names = {judge.name for judge in judges}
    drifting = [str(one) for one in found if one.judge in names]
    if not drifting:
        return None
    return f"emission pauses, the panel drifts: {'; '.join(drifting)}; look by `trust show`, go on by `trust clear`"


@done_again
def apply(buffer: Buffer, *, before: datetime, now: datetime, only: Collection[str] | None = None) -> Counter[str]:
    """Let the labels given until `before` (of these ids `only`) take effect; count what they did."""
    with buffer.writing() as tx:
        return reviews.apply_labels(tx, before=before, now=now, only=only)


def figures(buffer: Buffer) -> dict[str, Any]:
    """Give the figures of `status` about trust: canaries, held samples, labels, what waits for a person."""
    query = (
        "SELECT (SELECT count(DISTINCT canary_id) FROM canaries) AS canaries, (SELECT count(*) FROM labels) AS labels, "
        "count(*) FILTER (WHERE kind = 'held') AS held, count(*) FILTER (WHERE kind = 'disputed') AS disputed "
        "FROM to_review"
    )
    with buffer.hold():
        [row] = buffer.sql(query).dicts()
        with buffer.reading() as tx:
            drifting = sorted({one.judge for one in trust.drifts(tx)})
    return row | {"drifting_judges": ", ".join(drifting) or None}
