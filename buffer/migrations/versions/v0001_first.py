"""The first schema: everything.

Tables as they were at this revision, never imported from `schema.py`, which moves on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cursors",
        sa.Column("writer", sa.String(), nullable=False, comment="Name of the journal's writer."),
        sa.Column(
            "segment", sa.Integer(), nullable=False, comment="Segment at which the oldest run not yet ingested lies."
        ),
        sa.Column("offset", sa.BigInteger(), nullable=False, comment="Byte in that segment."),
        sa.Column("read_segment", sa.Integer(), nullable=False, comment="Segment from which on nothing was read."),
        sa.Column("read_offset", sa.BigInteger(), nullable=False, comment="Byte in that segment."),
        sa.Column("updated_at", sa.DateTime(), nullable=False, comment="When ingest saved it."),
        schema="store",
        comment="How far each writer's journal has been ingested; saved in the transaction that ingested it.",
    )
    op.create_table(
        "counts",
        sa.Column("record_id", sa.String(), nullable=False, comment="Hash of the journal record: replays count once."),
        sa.Column("at", sa.DateTime(), nullable=True, comment="When the process counted."),
        sa.Column("name", sa.String(), nullable=False, comment="What was counted."),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="How many since the record before."),
        schema="store",
        comment="Increments of the capturing processes' counters.",
    )
    op.create_table(
        "run_heads",
        sa.Column("root_key", sa.String(), nullable=False, comment="Our UUIDv7 of the LangGraph root run."),
        sa.Column(
            "trajectory_id", sa.String(), nullable=False, comment="The trajectory it belongs to, as resolved now."
        ),
        sa.Column(
            "parent_key", sa.String(), nullable=True, comment="Root key of the run that it resumes, as resolved now."
        ),
        sa.Column("run_id", sa.String(), nullable=True, comment="The caller's run id; callers reuse it."),
        sa.Column("agent", sa.String(), nullable=False, comment="Name of the agent."),
        sa.Column("thread_id", sa.String(), nullable=True, comment="LangGraph thread."),
        sa.Column(
            "thread_hash", sa.BigInteger(), nullable=True, comment="Hash of thread_id: threads are looked up by it."
        ),
        sa.Column("explicit_id", sa.String(), nullable=True, comment="Trajectory that `with live.trajectory()` named."),
        sa.Column("started_at", sa.Double(), nullable=False, comment="Start, seconds of the epoch."),
        sa.Column("ended_at", sa.Double(), nullable=False, comment="End or last fact, seconds of the epoch."),
        sa.Column(
            "status", sa.String(), nullable=False, comment="finished, interrupted, error, cancelled or abandoned."
        ),
        sa.Column("resume", sa.Boolean(), nullable=False, comment="Whether it continues an earlier run."),
        sa.Column("new_input", sa.Boolean(), nullable=False, comment="Whether it brings new input of a user."),
        sa.Column("resumes", sa.String(), nullable=True, comment="Checkpoint that it resumes from."),
        sa.Column(
            "waits_at", sa.String(), nullable=True, comment="Checkpoints at which it was interrupted, one a line."
        ),
        sa.Column(
            "linked",
            sa.Boolean(),
            nullable=False,
            comment="Whether it may belong together with others: unfinished, resuming or named.",
        ),
        sa.Column(
            "conversational",
            sa.Boolean(),
            nullable=True,
            comment="Whether its agent talks; false: it is declared to give an answer.",
        ),
        sa.Column("facts_hash", sa.String(), nullable=False, comment="Hash of its facts: an equal replay is left out."),
        sa.Column("policy_version", sa.String(), nullable=True, comment="Model and prompts that acted."),
        schema="store",
        comment="What decides which trajectory a run belongs to; one row a run.",
    )
    op.create_table(
        "run_facts",
        sa.Column("root_key", sa.String(), nullable=False, comment="The run."),
        sa.Column("part", sa.Integer(), nullable=False, comment="0 for the run, then one for each late delivery."),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Bytes before compression."),
        sa.Column("facts", sa.LargeBinary(), nullable=False, comment="The facts as a JSON array, zstd."),
        schema="store",
        comment="Raw facts, kept so that a later resume or a late fact can assemble the trajectory again.",
    )
    op.create_table(
        "evidence",
        sa.Column("evidence_id", sa.String(), nullable=False, comment="Id given by the caller; replays count once."),
        sa.Column(
            "trajectory_id",
            sa.String(),
            nullable=True,
            comment="Trajectory it is bound to, as resolved now; null: none yet.",
        ),
        sa.Column(
            "ambiguous",
            sa.Boolean(),
            nullable=False,
            comment="Kept, and never decides: the thread has several trajectories.",
        ),
        sa.Column("doubted", sa.Boolean(), nullable=False, comment="Said to be ambiguous by whoever made it."),
        sa.Column("to_trajectory", sa.String(), nullable=True, comment="As addressed: a trajectory id or a root key."),
        sa.Column("to_run", sa.String(), nullable=True, comment="As addressed: a caller's run id."),
        sa.Column("to_thread", sa.String(), nullable=True, comment="As addressed: a thread."),
        sa.Column("to_hash", sa.BigInteger(), nullable=True, comment="Hash of to_thread."),
        sa.Column("to_agent", sa.String(), nullable=True, comment="As addressed: the agent within the thread."),
        sa.Column("source", sa.String(), nullable=False, comment="person, reward, evaluator, judge or terminal."),
        sa.Column("key", sa.String(), nullable=False, comment="What is judged; 'success' unless named."),
        sa.Column(
            "success", sa.Boolean(), nullable=True, comment="Whether the goal was reached; null: the score says."
        ),
        sa.Column("score", sa.Double(), nullable=True, comment="Figure to compare with success_threshold."),
        sa.Column("value", sa.String(), nullable=True, comment="A value in the caller's words."),
        sa.Column("comment", sa.String(), nullable=True, comment="Why."),
        sa.Column("at", sa.DateTime(), nullable=True, comment="When it was said; null: unknown."),
        sa.Column("received_at", sa.DateTime(), nullable=False, comment="When ingest stored it."),
        schema="store",
        comment="Append-only statements about outcomes; only their binding to a trajectory moves.",
    )
    op.create_table(
        "evaluations",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="The revision that was shown."),
        sa.Column("evaluator", sa.String(), nullable=False, comment="Name of the evaluator."),
        schema="store",
        comment="Which evaluator has seen which revision.",
    )
    op.create_table(
        "trajectories",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="Root key of its first run, or the id given."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Grows with each change."),
        sa.Column("thread_id", sa.String(), nullable=True, comment="LangGraph thread."),
        sa.Column("agent", sa.String(), nullable=False, comment="Name of the agent."),
        sa.Column("policy_version", sa.String(), nullable=True, comment="Model and prompts of its last run."),
        sa.Column("goal", sa.String(), nullable=False, comment="What was asked."),
        sa.Column("final_answer", sa.String(), nullable=True, comment="The answer; null where none was given."),
        sa.Column("error_type", sa.String(), nullable=True, comment="Type of the error that ended it."),
        sa.Column("error_message", sa.String(), nullable=True, comment="Its message."),
        sa.Column("n_runs", sa.Integer(), nullable=False, comment="Runs."),
        sa.Column("n_steps", sa.Integer(), nullable=False, comment="Steps, of sub-agents too."),
        sa.Column("n_errors", sa.Integer(), nullable=False, comment="Actions whose result is an error."),
        sa.Column("started_at", sa.DateTime(), nullable=True, comment="Start of its first run."),
        sa.Column("finished_at", sa.DateTime(), nullable=True, comment="End of its last run."),
        sa.Column("source", sa.String(), nullable=False, comment="'live' or the file it was imported from."),
        sa.Column("subject", sa.String(), nullable=True, comment="Person the data is about."),
        sa.Column("tenant", sa.String(), nullable=True, comment="Customer the data belongs to."),
        sa.Column(
            "tags", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True, comment="Tags of the run."
        ),
        sa.Column(
            "metadata",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=True,
            comment="Metadata of the run.",
        ),
        sa.Column(
            "flags",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=True,
            comment="What was cut or is uncertain.",
        ),
        sa.Column("ingested_at", sa.DateTime(), nullable=False, comment="When this revision was stored."),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Bytes of the payload before compression."),
        sa.Column("payload", sa.LargeBinary(), nullable=False, comment="The whole trajectory as JSON, zstd."),
        schema="store",
        comment="One row per trajectory and revision.",
    )
    op.create_table(
        "runs",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Its revision."),
        sa.Column("idx", sa.Integer(), nullable=False, comment="Order within the trajectory, from 0."),
        sa.Column("root_key", sa.String(), nullable=False, comment="Our id of the run."),
        sa.Column("run_id", sa.String(), nullable=True, comment="The caller's id of the run."),
        sa.Column("policy_version", sa.String(), nullable=True, comment="Model and prompts that acted."),
        sa.Column("status", sa.String(), nullable=False, comment="How the run ended."),
        sa.Column("started_at", sa.DateTime(), nullable=True, comment="Start."),
        sa.Column("finished_at", sa.DateTime(), nullable=True, comment="End."),
        sa.Column("error_type", sa.String(), nullable=True, comment="Type of its error."),
        sa.Column("error_message", sa.String(), nullable=True, comment="Message of its error."),
        sa.Column(
            "models",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=True,
            comment="Chat models it called.",
        ),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False, comment="Tokens sent to models."),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False, comment="Tokens received from models."),
        schema="store",
        comment="The runs of each revision.",
    )
    op.create_table(
        "messages",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Its revision."),
        sa.Column(
            "agent_path", sa.String(), nullable=False, comment="'' for the root agent, else the path of a nested one."
        ),
        sa.Column("idx", sa.Integer(), nullable=False, comment="Position in the conversation, from 0."),
        sa.Column("role", sa.String(), nullable=False, comment="system, developer, user, assistant, tool or function."),
        sa.Column("content", sa.String(), nullable=True, comment="Text, or the content parts as JSON text."),
        sa.Column(
            "tool_calls",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=True,
            comment="Tool calls in OpenAI's form.",
        ),
        sa.Column("tool_call_id", sa.String(), nullable=True, comment="The call that a tool message answers."),
        sa.Column("name", sa.String(), nullable=True, comment="Name of the speaker or tool."),
        sa.Column("in_context", sa.Boolean(), nullable=False, comment="Whether it stood there before this turn."),
        schema="store",
        comment="The conversations of each revision.",
    )
    op.create_table(
        "steps",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Its revision."),
        sa.Column("idx", sa.Integer(), nullable=False, comment="Number of the step, from 0."),
        sa.Column("action_idx", sa.Integer(), nullable=False, comment="Number of the action within the step, from 0."),
        sa.Column(
            "agent_path", sa.String(), nullable=False, comment="'' for the root agent, else the path of a nested one."
        ),
        sa.Column("node", sa.String(), nullable=True, comment="Node of the graph."),
        sa.Column("model", sa.String(), nullable=True, comment="Chat model that acted."),
        sa.Column("thought", sa.String(), nullable=True, comment="Text beside the actions."),
        sa.Column("action_name", sa.String(), nullable=True, comment="Tool; null where the step took no action."),
        sa.Column(
            "action_input", sa.String(), nullable=True, comment="Arguments as JSON text, or a text agent's command."
        ),
        sa.Column("observation", sa.String(), nullable=True, comment="What came back; null where nothing did."),
        sa.Column("is_error", sa.Boolean(), nullable=False, comment="Whether the result is an error."),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="How often the call was made."),
        sa.Column("call_id", sa.String(), nullable=True, comment="Id of the tool call."),
        sa.Column("at", sa.DateTime(), nullable=True, comment="When the step began."),
        schema="store",
        comment="One row per action of each revision; a step without an action has one row.",
    )
    op.create_table(
        "superseded",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="A revision that no longer counts."),
        schema="store",
        comment="Rows of the wide tables that views leave out; small, so that views stay fast.",
    )
    op.create_table(
        "state",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Current revision."),
        sa.Column(
            "status", sa.String(), nullable=False, comment="open, interrupted, finished, error, cancelled or abandoned."
        ),
        sa.Column("outcome", sa.String(), nullable=False, comment="success, failure or unknown."),
        sa.Column("outcome_source", sa.String(), nullable=True, comment="Source of the evidence that decided."),
        sa.Column("outcome_reason", sa.String(), nullable=True, comment="Why, in a sentence."),
        sa.Column(
            "outcome_rev", sa.Integer(), nullable=False, comment="Grows when the outcome or what it is about changes."
        ),
        sa.Column("reward", sa.Double(), nullable=True, comment="Reward of the environment, else the deciding score."),
        sa.Column(
            "stage", sa.String(), nullable=False, comment="waiting, queued, passed, relabeled, rejected or errored."
        ),
        sa.Column("stage_at", sa.DateTime(), nullable=False, comment="When the stage was entered."),
        sa.Column(
            "needs_settle",
            sa.Boolean(),
            nullable=False,
            comment="Evidence, status or revision changed since the last settling.",
        ),
        sa.Column(
            "settled_revision", sa.Integer(), nullable=False, comment="Revision that the outcome was settled for."
        ),
        sa.Column(
            "settle_at",
            sa.DateTime(),
            nullable=True,
            comment="When a machine-found failure stops waiting for a person.",
        ),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="Tries that ended in an error."),
        sa.Column(
            "retry_at", sa.DateTime(), nullable=True, comment="When an errored one is tried again; null: not again."
        ),
        sa.Column("relabeling_id", sa.String(), nullable=True, comment="Its latest relabeling."),
        sa.Column(
            "waiting_since", sa.DateTime(), nullable=True, comment="Since when an interrupted one waits for its resume."
        ),
        sa.Column("held_out", sa.Boolean(), nullable=False, comment="Whether its goal never reaches a shard."),
        sa.Column("priority", sa.Double(), nullable=False, comment="Higher is relabeled sooner."),
        sa.Column("source", sa.String(), nullable=False, comment="'live' or the file it was imported from."),
        sa.Column(
            "answers", sa.Boolean(), nullable=False, comment="Whether its agent is declared to give a final answer."
        ),
        sa.Column("needs_sample", sa.Boolean(), nullable=False, comment="A success that no sample was sought of yet."),
        sa.Column(
            "runs_hash", sa.String(), nullable=True, comment="Hash of the runs and facts that it was assembled from."
        ),
        sa.Column(
            "merged_into", sa.String(), nullable=True, comment="Trajectory that took its runs; such a row is hidden."
        ),
        schema="store",
        comment="What moves: one narrow row per trajectory.",
    )
    op.create_table(
        "relabelings",
        sa.Column("relabeling_id", sa.String(), nullable=False, comment="Hash of trajectory, revisions and attempt."),
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Revision it worked on."),
        sa.Column("outcome_rev", sa.Integer(), nullable=False, comment="Outcome revision it worked on."),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="Tries before it that ended in an error."),
        sa.Column("stage", sa.String(), nullable=False, comment="relabeled, rejected or errored."),
        sa.Column("reason", sa.String(), nullable=False, comment="The counted word."),
        sa.Column("detail", sa.String(), nullable=False, comment="The reason in a sentence."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was recorded."),
        schema="store",
        comment="Results of Algorithm 1.",
    )
    op.create_table(
        "analyses",
        sa.Column("relabeling_id", sa.String(), nullable=False, comment="The relabeling it is part of."),
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("failure_type", sa.String(), nullable=False, comment="One of the six types."),
        sa.Column("severity", sa.Double(), nullable=False, comment="v in [0, 1], 1 = worst."),
        sa.Column("weight", sa.Double(), nullable=False, comment="w = 1 - v."),
        sa.Column("recoverable", sa.Boolean(), nullable=False, comment="Whether a hindsight goal may be sought."),
        sa.Column("critical_step", sa.Integer(), nullable=True, comment="Step after which the goal was lost."),
        sa.Column("explanation", sa.String(), nullable=False, comment="Why, in a sentence."),
        sa.Column("method", sa.String(), nullable=False, comment="What analysed it."),
        schema="store",
        comment="Stage 1: what went wrong.",
    )
    op.create_table(
        "goals",
        sa.Column("goal_id", sa.String(), nullable=False, comment="The goal."),
        sa.Column("relabeling_id", sa.String(), nullable=False, comment="The relabeling it is part of."),
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("strategy", sa.String(), nullable=False, comment="Which span it is about."),
        sa.Column("hindsight_goal", sa.String(), nullable=False, comment="The goal that the run in fact reached."),
        sa.Column("confidence", sa.Double(), nullable=False, comment="Mean confidence of relabeler and panel."),
        sa.Column("accepted", sa.Boolean(), nullable=False, comment="Whether it was accepted."),
        sa.Column("reason", sa.String(), nullable=False, comment="The counted word."),
        sa.Column("detail", sa.String(), nullable=False, comment="The reason in a sentence."),
        sa.Column("method", sa.String(), nullable=False, comment="What proposed it."),
        sa.Column(
            "evidence",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=True,
            comment="Indices of the messages that prove it.",
        ),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="Which attempt proposed it."),
        schema="store",
        comment="Stage 3: hindsight goals.",
    )
    op.create_table(
        "verdicts",
        sa.Column("goal_id", sa.String(), nullable=False, comment="The goal."),
        sa.Column("relabeling_id", sa.String(), nullable=False, comment="The relabeling it is part of."),
        sa.Column("judge", sa.String(), nullable=False, comment="Who judged."),
        sa.Column("is_valid", sa.Boolean(), nullable=False, comment="Yes or no; no where unanswered."),
        sa.Column("confidence", sa.Double(), nullable=False, comment="The judge's own confidence."),
        sa.Column("status", sa.String(), nullable=False, comment="ok or unanswered."),
        sa.Column("reason", sa.String(), nullable=False, comment="The judge's reason."),
        sa.Column("prompt_version", sa.String(), nullable=False, comment="Version of the prompt."),
        schema="store",
        comment="What each judge said about each goal.",
    )
    op.create_table(
        "samples",
        sa.Column(
            "sample_id", sa.String(), nullable=False, comment="Hash of trajectory, outcome revision, goal and form."
        ),
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("goal_id", sa.String(), nullable=True, comment="The hindsight goal; null for a success."),
        sa.Column("kind", sa.String(), nullable=False, comment="hindsight or success."),
        sa.Column("goal", sa.String(), nullable=False, comment="The goal that is trained."),
        sa.Column("weight", sa.Double(), nullable=False, comment="Severity weight."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Revision it was made of."),
        sa.Column("outcome_rev", sa.Integer(), nullable=False, comment="Outcome revision it was made of."),
        sa.Column(
            "relabeling_id", sa.String(), nullable=True, comment="The relabeling that made it; null for a success."
        ),
        sa.Column("content_hash", sa.String(), nullable=False, comment="Hash of what is trained."),
        sa.Column("created_at", sa.DateTime(), nullable=False, comment="When it was recorded."),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Bytes of the payload before compression."),
        sa.Column("payload", sa.LargeBinary(), nullable=False, comment="The whole sample as JSON, zstd."),
        schema="store",
        comment="Training examples.",
    )
    op.create_table(
        "sample_state",
        sa.Column("sample_id", sa.String(), nullable=False, comment="The sample."),
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("kind", sa.String(), nullable=False, comment="hindsight or success."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Revision it was made of."),
        sa.Column("content_hash", sa.String(), nullable=False, comment="Hash of what is trained."),
        sa.Column("state", sa.String(), nullable=False, comment="pending, emitted, retracted or withdrawn."),
        sa.Column("reason", sa.String(), nullable=True, comment="Why it was withdrawn or retracted."),
        sa.Column("changed_at", sa.DateTime(), nullable=False, comment="When the state was entered."),
        schema="store",
        comment="What moves about a sample.",
    )
    op.create_table(
        "shards",
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="Number in the one sequence of all formats."),
        sa.Column("format", sa.String(), nullable=False, comment="The one format of its rows."),
        sa.Column("path", sa.String(), nullable=True, comment="File below the shards folder; null while writing."),
        sa.Column("state", sa.String(), nullable=False, comment="writing, published or abandoned."),
        sa.Column("reason", sa.String(), nullable=True, comment="Why it was abandoned."),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows in the file; null while writing."),
        sa.Column("sha256", sa.String(), nullable=True, comment="Hash of the file; null while writing."),
        sa.Column("bytes", sa.BigInteger(), nullable=True, comment="Size of the file; null while writing."),
        sa.Column("begun_at", sa.DateTime(), nullable=False, comment="When its ids were committed."),
        sa.Column("published_at", sa.DateTime(), nullable=True, comment="When the manifest had its line."),
        schema="store",
        comment="Shard files.",
    )
    op.create_table(
        "sample_shards",
        sa.Column("sample_id", sa.String(), nullable=False, comment="The sample."),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="The shard."),
        sa.Column("format", sa.String(), nullable=False, comment="Its format."),
        sa.Column("idx", sa.Integer(), nullable=False, comment="Row in the shard, from 0."),
        schema="store",
        comment="Which sample lies in which shard.",
    )
    op.create_table(
        "set_aside",
        sa.Column("sample_id", sa.String(), nullable=False, comment="The sample."),
        sa.Column("format", sa.String(), nullable=False, comment="The format that it stays out of."),
        sa.Column("reason", sa.String(), nullable=False, comment="The counted word."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was set aside."),
        schema="store",
        comment="Samples that a format has no room for.",
    )
    op.create_table(
        "retractions",
        sa.Column("sample_id", sa.String(), nullable=False, comment="The sample."),
        sa.Column("reason", sa.String(), nullable=False, comment="Why."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was decided."),
        sa.Column(
            "seq", sa.BigInteger(), nullable=True, comment="Its number in the shards folder; null until published."
        ),
        sa.Column("done_at", sa.DateTime(), nullable=True, comment="When it was published; null: due."),
        schema="store",
        comment="Samples of published shards that no longer hold.",
    )
    op.create_table(
        "llm_calls",
        sa.Column("call_key", sa.String(), nullable=False, comment="Hash of model and request."),
        sa.Column("purpose", sa.String(), nullable=False, comment="detect, extract, relabel or judge."),
        sa.Column("model", sa.String(), nullable=False, comment="The model asked."),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False, comment="Tokens sent."),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False, comment="Tokens received."),
        sa.Column("cost_usd", sa.Double(), nullable=True, comment="Price; null: unknown."),
        sa.Column("status", sa.String(), nullable=False, comment="How the call ended."),
        sa.Column("text", sa.String(), nullable=True, comment="The reply."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was answered."),
        schema="store",
        comment="Calls of chat models, each paid once.",
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(), nullable=False, comment="Name."),
        sa.Column("value", sa.String(), nullable=False, comment="Value."),
        schema="store",
        comment="Facts about the buffer itself.",
    )

    # Engines with many writers keep ids unique by index; on DuckDB the one writing transaction does.
    if op.get_context().dialect.name == "postgresql":
        op.create_index("cursors_key", "cursors", ["writer"], unique=True, schema="store")
        op.create_index("run_heads_key", "run_heads", ["root_key"], unique=True, schema="store")
        op.create_index("evidence_key", "evidence", ["evidence_id"], unique=True, schema="store")
        op.create_index("trajectories_key", "trajectories", ["trajectory_id", "revision"], unique=True, schema="store")
        op.create_index("state_key", "state", ["trajectory_id"], unique=True, schema="store")
        op.create_index("samples_key", "samples", ["sample_id"], unique=True, schema="store")
        op.create_index("sample_state_key", "sample_state", ["sample_id"], unique=True, schema="store")
        op.create_index("shards_key", "shards", ["seq"], unique=True, schema="store")
        op.create_index("llm_calls_key", "llm_calls", ["call_key"], unique=True, schema="store")
