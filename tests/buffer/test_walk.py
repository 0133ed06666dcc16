"""Any walk of runs, feedback, settling, relabeling and publishing keeps the tables of moves and the buffer's sums.

Hypothesis drives a real DuckDB file; after each step the whole state is compared with the one before.
"""

import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import text

from agenther_live.buffer.store import Buffer, Claim
from agenther_live.journal import RunFacts
from agenther_live.settings import Settings
from agenther_live.shards.files.writer import ShardFile
from agenther_live.trajectory import SAMPLE_MOVES, STAGE_MOVES, STATUS_MOVES
from tests.buffer.conftest import private
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import errored, rejected, relabeled, sample

EMPTY = Path(tempfile.mkdtemp(prefix="agenther-walk-")) / "empty.duckdb"
STEP = 30.0


def reachable(moves: Any, old: str, new: str) -> bool:
    """Whether `moves` leads from old to new, in one step or in several of one transaction."""
    seen, front = {old}, {old}
    while front:
        front = {target for state in front for target in moves[state]} - seen
        seen |= front
    return new in seen


class Walk(RuleBasedStateMachine):
    """Agents run and speak, the worker works, trainers are served, in any order."""

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="agenther-walk-"))
        if not EMPTY.exists():
            Buffer(EMPTY, settings=Settings(home=self.home)).create()
        shutil.copyfile(EMPTY, self.home / "b.duckdb")
        given = Settings(
            home=self.home, held_out=0.0, outcome_settle_seconds=2 * STEP, retry_seconds=STEP, max_retries=1
        )
        self.buffer = Buffer(self.home / "b.duckdb", settings=given, clock=lambda: at(self.now))
        self.held = self.buffer.hold()
        self.held.__enter__()
        self.now = 0.0
        self.offset = 0
        self.runs: list[RunFacts] = []
        self.late: list[RunFacts] = []
        self.claims: list[Claim] = []
        self.before: dict[str, dict[str, Any]] = {}
        self.samples: dict[str, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "held"):
            self.held.__exit__(None, None, None)
            shutil.rmtree(self.home)

    def take(self, runs: list[RunFacts], loose: list[dict[str, Any]]) -> None:
        self.offset += 1
        self.buffer.ingest(batch(runs, loose, offset=self.offset), now=at(self.now))

    @rule(
        thread=st.sampled_from(["t", "u"]),
        status=st.sampled_from(["finished", "finished", "error", "interrupted", "cancelled", None]),
        resumes=st.sampled_from([None, None, "c0", "c1", "c2"]),
        waits=st.sampled_from(["c0", "c1", "c2"]),
        later=st.booleans(),
    )
    def an_agent_runs(self, thread: str, status: str | None, resumes: str | None, waits: str, later: bool) -> None:
        self.now += STEP
        one = run(
            f"r{len(self.runs)}",
            start=self.now,
            thread=thread,
            status=status,
            resumes=resumes,
            waits_at=waits if status == "interrupted" else None,
            error="ValueError" if status == "error" else None,
        )
        self.runs.append(one)
        if later:
            self.late.append(one)
        else:
            self.take([one], [])

    @rule()
    def journals_of_other_processes_arrive(self) -> None:
        self.take(self.late[::-1], [])
        self.late = []

    @rule()
    def the_journal_is_read_again(self) -> None:
        known = [one for one in self.runs if one not in self.late]
        before = private(self.buffer, "SELECT trajectory_id, revision FROM store.state ORDER BY 1")
        self.take(known, [])
        assert private(self.buffer, "SELECT trajectory_id, revision FROM store.state ORDER BY 1") == before

    @rule(thread=st.sampled_from(["t", "u"]), success=st.booleans(), source=st.sampled_from(["person", "evaluator"]))
    def somebody_speaks(self, thread: str, success: bool, source: str) -> None:
        self.take([], [feedback(thread_id=thread, success=success, source=source, seconds=self.now)])

    @rule(immediate=st.booleans())
    def outcomes_settle(self, immediate: bool) -> None:
        self.now += STEP
        self.buffer.settle(now=at(self.now), immediate=immediate)

    @rule()
    def the_worker_claims(self) -> None:
        self.claims = self.buffer.claim(2, now=at(self.now))

    @rule(how=st.sampled_from([relabeled, rejected, errored]))
    def the_worker_records(self, how: Any) -> None:
        states = {row["trajectory_id"]: row for row in self.rows()}
        done = self.buffer.record_many([(claim, how(claim)) for claim in self.claims], now=at(self.now))
        for claim in self.claims:
            row = states[claim.trajectory_id]
            still = row["stage"] == "queued" and row["revision"] == claim.revision
            still = (
                still and row["outcome_rev"] == claim.outcome_rev and not row["needs_settle"] and not row["merged_into"]
            )
            assert (claim in [one for one, _ in done]) == still

    @rule()
    def successes_become_samples(self) -> None:
        claims = self.buffer.successes(2)
        self.buffer.add_samples([sample(claim, kind="success") for claim in claims], claims=claims, now=at(self.now))

    @rule(publish=st.booleans())
    def a_shard_is_made(self, publish: bool) -> None:
        for left in self.buffer.unfinished_shards():
            self.buffer.publish_shard(ShardFile(left.seq, left.format, f"{left.seq}.jsonl", len(left.samples), "0", 1))
        waiting = [one.sample_id for one in self.buffer.pending("trl_sft", 2)]
        if waiting:
            seq = self.buffer.begin_shard("trl_sft", waiting)
            if publish:
                self.buffer.publish_shard(ShardFile(seq, "trl_sft", f"{seq}.jsonl", len(waiting), "0", 1))

    def rows(self) -> list[dict[str, Any]]:
        with self.buffer.reading() as tx:
            return [dict(row) for row in tx.connection.execute(text("SELECT * FROM store.state")).mappings()]

    @invariant()
    def moves_are_those_of_the_tables(self) -> None:
        rows = {row["trajectory_id"]: row for row in self.rows()}
        for key, old in self.before.items():
            new = rows[key]
            assert new["revision"] >= old["revision"]
            assert new["outcome_rev"] >= old["outcome_rev"]
            if (new["revision"], new["merged_into"]) == (old["revision"], old["merged_into"]):
                assert reachable(STATUS_MOVES, old["status"], new["status"])
            assert reachable(STAGE_MOVES, old["stage"], new["stage"])
            if (new["revision"], new["outcome_rev"], new["needs_settle"]) == (
                old["revision"],
                old["outcome_rev"],
                False,
            ):
                assert old["outcome"] == new["outcome"] or old["needs_settle"]
        self.before = rows
        states = dict(self.buffer.sql("SELECT sample_id, state FROM samples").fetchall())
        for key, was in self.samples.items():
            assert reachable(SAMPLE_MOVES, was, states[key])
        self.samples = states

    @invariant()
    def sums_hold(self) -> None:
        shown = [row for row in self.before.values() if row["merged_into"] is None]
        figures = self.buffer.status(now=at(self.now))
        # One look for all of them: opening and planning is most of what a question costs.
        trajectories, heads, headless, lost, told, steps = private(
            self.buffer,
            "SELECT (SELECT count(*) FROM trajectories), (SELECT count(*) FROM store.run_heads), "
            "(SELECT count(*) FROM store.run_heads h ANTI JOIN trajectories t USING (trajectory_id)), "
            "(SELECT count(*) FROM steps s ANTI JOIN trajectories t USING (trajectory_id)), "
            "(SELECT coalesce(sum(n_steps), 0) FROM trajectories), (SELECT count(*) FROM steps)",
        )[0]
        assert figures["captured"] == len(shown) == trajectories
        assert figures["captured"] == figures["succeeded"] + figures["failed"] + figures["unknown"]
        funnel = self.buffer.funnel()
        for above, below in itertools.pairwise(funnel):
            assert above["n"] == below["n"] + sum(below["dropped"].values())
        # Every run that came is in exactly one trajectory as its own, and each view agrees with the state.
        came = {one.root_key for one in self.runs} - {one.root_key for one in self.late}
        assert {row[0] for row in self.buffer.sql("SELECT root_key FROM runs").fetchall()} == came
        assert heads == len(came)
        assert (headless, lost) == (0, 0)
        assert told == steps

    @invariant()
    def nothing_that_no_longer_holds_can_be_trained_on(self) -> None:
        """Once settled: living samples are of the current revision, and success samples are of successes."""
        wrong = (
            "SELECT (SELECT count(*) FROM store.sample_state x JOIN store.state s USING (trajectory_id) "
            "WHERE NOT s.needs_settle AND x.state IN ('pending', 'emitted') "
            "AND (x.revision <> s.revision OR s.merged_into IS NOT NULL "
            "OR (x.kind = 'success' AND s.outcome <> 'success'))), "
            "(SELECT count(*) FROM samples x JOIN sample_shards USING (sample_id) WHERE x.state = 'withdrawn' "
            "OR (x.state = 'retracted' AND NOT EXISTS (SELECT 1 FROM retractions r WHERE r.sample_id = x.sample_id)))"
        )
        assert private(self.buffer, wrong) == [(0, 0)]


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=5, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)
