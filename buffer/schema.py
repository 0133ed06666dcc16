"""The buffer's private tables: one SQLAlchemy schema for every engine. People read the views (`views.sql`).

Three habits hold everywhere. Wide tables are append-only: a changed trajectory appends its next revision, and
`superseded` names the rows that no longer count. What moves stands in narrow tables (`state`, `sample_state`,
`run_heads`). Uniqueness is kept by the one writing transaction: on DuckDB a primary key on a table that grows
doubles the cost of a tick at a million rows, so unique indexes are made on engines with many writers only.

Times are naive UTC and named `*_at`; ids are text; states are text that the tables of moves guard.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

SCHEMA = "store"
MANY_WRITERS = "postgresql"

metadata = MetaData(schema=SCHEMA)

Json = JSON().with_variant(postgresql.JSONB(), "postgresql")


def _column(
    name: str, kind: type[TypeEngine[Any]] | TypeEngine[Any], comment: str, *, null: bool = True
) -> Column[Any]:
    return Column(name, kind, nullable=null, comment=comment)


def _unique(table: Table, *columns: str) -> None:
    name = f"{table.name}_key"
    Index(name, *(table.c[column] for column in columns), unique=True).ddl_if(dialect=MANY_WRITERS)


# --- what came in -----------------------------------------------------------------------------------------

cursors = Table(
    "cursors",
    metadata,
    _column("writer", String, "Name of the journal's writer.", null=False),
    _column("segment", Integer, "Segment at which the oldest run not yet ingested lies.", null=False),
    _column("offset", BigInteger, "Byte in that segment.", null=False),
    _column("read_segment", Integer, "Segment from which on nothing was read.", null=False),
    _column("read_offset", BigInteger, "Byte in that segment.", null=False),
    _column("updated_at", DateTime, "When ingest saved it.", null=False),
    comment="How far each writer's journal has been ingested; saved in the transaction that ingested it.",
)
_unique(cursors, "writer")

counts = Table(
    "counts",
    metadata,
    _column("record_id", String, "Hash of the journal record: replays count once.", null=False),
    _column("at", DateTime, "When the process counted."),
    _column("name", String, "What was counted.", null=False),
    _column("n", BigInteger, "How many since the record before.", null=False),
    comment="Increments of the capturing processes' counters.",
)

run_heads = Table(
    "run_heads",
    metadata,
    _column("root_key", String, "Our UUIDv7 of the LangGraph root run.", null=False),
    _column("trajectory_id", String, "The trajectory it belongs to, as resolved now.", null=False),
    _column("parent_key", String, "Root key of the run that it resumes, as resolved now."),
    _column("run_id", String, "The caller's run id; callers reuse it."),
    _column("agent", String, "Name of the agent.", null=False),
    _column("thread_id", String, "LangGraph thread."),
    _column("thread_hash", BigInteger, "Hash of thread_id: threads are looked up by it."),
    _column("explicit_id", String, "Trajectory that `with live.trajectory()` named."),
    _column("started_at", Double, "Start, seconds of the epoch.", null=False),
    _column("ended_at", Double, "End or last fact, seconds of the epoch.", null=False),
    _column("status", String, "finished, interrupted, error, cancelled or abandoned.", null=False),
    _column("resume", Boolean, "Whether it continues an earlier run.", null=False),
    _column("new_input", Boolean, "Whether it brings new input of a user.", null=False),
    _column("resumes", String, "Checkpoint that it resumes from."),
    _column("waits_at", String, "Checkpoints at which it was interrupted, one a line."),
    _column(
        "linked", Boolean, "Whether it may belong together with others: unfinished, resuming or named.", null=False
    ),
    _column("conversational", Boolean, "Whether its agent talks; false: it is declared to give an answer."),
    _column("facts_hash", String, "Hash of its facts: an equal replay is left out.", null=False),
    _column("policy_version", String, "Model and prompts that acted."),
    comment="What decides which trajectory a run belongs to; one row a run.",
)
_unique(run_heads, "root_key")

run_facts = Table(
    "run_facts",
    metadata,
    _column("root_key", String, "The run.", null=False),
    _column("part", Integer, "0 for the run, then one for each late delivery.", null=False),
    _column("size", BigInteger, "Bytes before compression.", null=False),
    _column("facts", LargeBinary, "The facts as a JSON array, zstd.", null=False),
    comment="Raw facts, kept so that a later resume or a late fact can assemble the trajectory again.",
)

evidence = Table(
    "evidence",
    metadata,
    _column("evidence_id", String, "Id given by the caller; replays count once.", null=False),
    _column("trajectory_id", String, "Trajectory it is bound to, as resolved now; null: none yet."),
    _column("ambiguous", Boolean, "Kept, and never decides: the thread has several trajectories.", null=False),
    _column("doubted", Boolean, "Said to be ambiguous by whoever made it.", null=False),
    _column("to_trajectory", String, "As addressed: a trajectory id or a root key."),
    _column("to_run", String, "As addressed: a caller's run id."),
    _column("to_thread", String, "As addressed: a thread."),
    _column("to_hash", BigInteger, "Hash of to_thread."),
    _column("to_agent", String, "As addressed: the agent within the thread."),
    _column("source", String, "person, reward, evaluator, judge or terminal.", null=False),
    _column("key", String, "What is judged; 'success' unless named.", null=False),
    _column("success", Boolean, "Whether the goal was reached; null: the score says."),
    _column("score", Double, "Figure to compare with success_threshold."),
    _column("value", String, "A value in the caller's words."),
    _column("comment", String, "Why."),
    _column("at", DateTime, "When it was said; null: unknown."),
    _column("received_at", DateTime, "When ingest stored it.", null=False),
    comment="Append-only statements about outcomes; only their binding to a trajectory moves.",
)
_unique(evidence, "evidence_id")

evaluations = Table(
    "evaluations",
    metadata,
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("revision", Integer, "The revision that was shown.", null=False),
    _column("evaluator", String, "Name of the evaluator.", null=False),
    comment="Which evaluator has seen which revision.",
)

# --- trajectories, wide and append-only -------------------------------------------------------------------

trajectories = Table(
    "trajectories",
    metadata,
    _column("trajectory_id", String, "Root key of its first run, or the id given.", null=False),
    _column("revision", Integer, "Grows with each change.", null=False),
    _column("thread_id", String, "LangGraph thread."),
    _column("agent", String, "Name of the agent.", null=False),
    _column("policy_version", String, "Model and prompts of its last run."),
    _column("goal", String, "What was asked.", null=False),
    _column("final_answer", String, "The answer; null where none was given."),
    _column("error_type", String, "Type of the error that ended it."),
    _column("error_message", String, "Its message."),
    _column("n_runs", Integer, "Runs.", null=False),
    _column("n_steps", Integer, "Steps, of sub-agents too.", null=False),
    _column("n_errors", Integer, "Actions whose result is an error.", null=False),
    _column("started_at", DateTime, "Start of its first run."),
    _column("finished_at", DateTime, "End of its last run."),
    _column("source", String, "'live' or the file it was imported from.", null=False),
    _column("subject", String, "Person the data is about."),
    _column("tenant", String, "Customer the data belongs to."),
    _column("tags", Json, "Tags of the run."),
    _column("metadata", Json, "Metadata of the run."),
    _column("flags", Json, "What was cut or is uncertain."),
    _column("ingested_at", DateTime, "When this revision was stored.", null=False),
    _column("size", BigInteger, "Bytes of the payload before compression.", null=False),
    _column("payload", LargeBinary, "The whole trajectory as JSON, zstd.", null=False),
    comment="One row per trajectory and revision.",
)
_unique(trajectories, "trajectory_id", "revision")

runs = Table(
    "runs",
    metadata,
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("revision", Integer, "Its revision.", null=False),
    _column("idx", Integer, "Order within the trajectory, from 0.", null=False),
    _column("root_key", String, "Our id of the run.", null=False),
    _column("run_id", String, "The caller's id of the run."),
    _column("policy_version", String, "Model and prompts that acted."),
    _column("status", String, "How the run ended.", null=False),
    _column("started_at", DateTime, "Start."),
    _column("finished_at", DateTime, "End."),
    _column("error_type", String, "Type of its error."),
    _column("error_message", String, "Message of its error."),
    _column("models", Json, "Chat models it called."),
    _column("prompt_tokens", BigInteger, "Tokens sent to models.", null=False),
    _column("completion_tokens", BigInteger, "Tokens received from models.", null=False),
    _column("tools_version", String, "Hash of the tool schemas that its models were given."),
    comment="The runs of each revision.",
)

messages = Table(
    "messages",
    metadata,
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("revision", Integer, "Its revision.", null=False),
    _column("agent_path", String, "'' for the root agent, else the path of a nested one.", null=False),
    _column("idx", Integer, "Position in the conversation, from 0.", null=False),
    _column("role", String, "system, developer, user, assistant, tool or function.", null=False),
    _column("content", String, "Text, or the content parts as JSON text."),
    _column("tool_calls", Json, "Tool calls in OpenAI's form."),
    _column("tool_call_id", String, "The call that a tool message answers."),
    _column("name", String, "Name of the speaker or tool."),
    _column("in_context", Boolean, "Whether it stood there before this turn.", null=False),
    comment="The conversations of each revision.",
)

steps = Table(
    "steps",
    metadata,
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("revision", Integer, "Its revision.", null=False),
    _column("idx", Integer, "Number of the step, from 0.", null=False),
    _column("action_idx", Integer, "Number of the action within the step, from 0.", null=False),
    _column("agent_path", String, "'' for the root agent, else the path of a nested one.", null=False),
    _column("node", String, "Node of the graph."),
    _column("model", String, "Chat model that acted."),
    _column("thought", String, "Text beside the actions."),
    _column("action_name", String, "Tool; null where the step took no action."),
    _column("action_input", String, "Arguments as JSON text, or a text agent's command."),
    _column("observation", String, "What came back; null where nothing did."),
    _column("is_error", Boolean, "Whether the result is an error.", null=False),
    _column("attempts", Integer, "How often the call was made.", null=False),
    _column("call_id", String, "Id of the tool call."),
    _column("at", DateTime, "When the step began."),
    comment="One row per action of each revision; a step without an action has one row.",
)

superseded = Table(
    "superseded",
    metadata,
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("revision", Integer, "A revision that no longer counts.", null=False),
    comment="Rows of the wide tables that views leave out; small, so that views stay fast.",
)

state = Table(
    "state",
    metadata,
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("revision", Integer, "Current revision.", null=False),
    _column("status", String, "open, interrupted, finished, error, cancelled or abandoned.", null=False),
    _column("outcome", String, "success, failure or unknown.", null=False),
    _column("outcome_source", String, "Source of the evidence that decided."),
    _column("outcome_reason", String, "Why, in a sentence."),
    _column("outcome_rev", Integer, "Grows when the outcome or what it is about changes.", null=False),
    _column("reward", Double, "Reward of the environment, else the deciding score."),
    _column("stage", String, "waiting, queued, passed, relabeled, rejected or errored.", null=False),
    _column("stage_at", DateTime, "When the stage was entered.", null=False),
    _column("needs_settle", Boolean, "Evidence, status or revision changed since the last settling.", null=False),
    _column("settled_revision", Integer, "Revision that the outcome was settled for.", null=False),
    _column("settle_at", DateTime, "When a machine-found failure stops waiting for a person."),
    _column("attempts", Integer, "Tries that ended in an error.", null=False),
    _column("retry_at", DateTime, "When an errored one is tried again; null: not again."),
    _column("relabeling_id", String, "Its latest relabeling."),
    _column("waiting_since", DateTime, "Since when an interrupted one waits for its resume."),
    _column("held_out", Boolean, "Whether its goal never reaches a shard.", null=False),
    _column("priority", Double, "Higher is relabeled sooner.", null=False),
    _column("source", String, "'live' or the file it was imported from.", null=False),
    _column("answers", Boolean, "Whether its agent is declared to give a final answer.", null=False),
    _column("needs_sample", Boolean, "A success that no sample was sought of yet.", null=False),
    _column("runs_hash", String, "Hash of the runs and facts that it was assembled from."),
    _column("merged_into", String, "Trajectory that took its runs; such a row is hidden."),
    _column("leased_by", String, "Worker that has it now, where there are many; null: nobody."),
    _column("leased_until", DateTime, "When that lease ends, by the database's clock."),
    _column("recoverable", Boolean, "Whether its latest analysis lets a hindsight goal be sought; null: none."),
    _column("proposed", Boolean, "Whether its latest relabeling proposed a goal; null: there was none."),
    _column("relabel_reason", String, "The counted word of its latest relabeling."),
    comment="What moves: one narrow row per trajectory.",
)
_unique(state, "trajectory_id")

# --- relabeling -------------------------------------------------------------------------------------------

relabelings = Table(
    "relabelings",
    metadata,
    _column("relabeling_id", String, "Hash of trajectory, revisions and attempt.", null=False),
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("revision", Integer, "Revision it worked on.", null=False),
    _column("outcome_rev", Integer, "Outcome revision it worked on.", null=False),
    _column("attempt", Integer, "Tries before it that ended in an error.", null=False),
    _column("stage", String, "relabeled, rejected or errored.", null=False),
    _column("reason", String, "The counted word.", null=False),
    _column("detail", String, "The reason in a sentence.", null=False),
    _column("at", DateTime, "When it was recorded.", null=False),
    _column("achievements", Json, "What was achieved, with the messages that prove it."),
    comment="Results of Algorithm 1.",
)

analyses = Table(
    "analyses",
    metadata,
    _column("relabeling_id", String, "The relabeling it is part of.", null=False),
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("failure_type", String, "One of the six types.", null=False),
    _column("severity", Double, "v in [0, 1], 1 = worst.", null=False),
    _column("weight", Double, "w = 1 - v.", null=False),
    _column("recoverable", Boolean, "Whether a hindsight goal may be sought.", null=False),
    _column("critical_step", Integer, "Step after which the goal was lost."),
    _column("explanation", String, "Why, in a sentence.", null=False),
    _column("method", String, "What analysed it.", null=False),
    _column("critical_evidence", Json, "Indices of the messages that show it."),
    comment="Stage 1: what went wrong.",
)

goals = Table(
    "goals",
    metadata,
    _column("goal_id", String, "The goal.", null=False),
    _column("relabeling_id", String, "The relabeling it is part of.", null=False),
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("strategy", String, "Which span it is about.", null=False),
    _column("hindsight_goal", String, "The goal that the run in fact reached.", null=False),
    _column("confidence", Double, "Mean confidence of relabeler and panel.", null=False),
    _column("accepted", Boolean, "Whether it was accepted.", null=False),
    _column("reason", String, "The counted word.", null=False),
    _column("detail", String, "The reason in a sentence.", null=False),
    _column("method", String, "What proposed it.", null=False),
    _column("evidence", Json, "Indices of the messages that prove it."),
    _column("attempt", Integer, "Which attempt proposed it.", null=False),
    _column("prompt_version", String, "Version of the prompt that proposed it."),
    _column("requirements", Json, "Each requirement with the messages that prove it."),
    _column("missed", Json, "Parts of the failed goal that are known not to have been reached."),
    comment="Stage 3: hindsight goals.",
)

verdicts = Table(
    "verdicts",
    metadata,
    _column("goal_id", String, "The goal.", null=False),
    _column("relabeling_id", String, "The relabeling it is part of.", null=False),
    _column("judge", String, "Who judged.", null=False),
    _column("is_valid", Boolean, "Yes or no; no where unanswered.", null=False),
    _column("confidence", Double, "The judge's own confidence.", null=False),
    _column("status", String, "ok or unanswered.", null=False),
    _column("reason", String, "The judge's reason.", null=False),
    _column("prompt_version", String, "Version of the prompt.", null=False),
    comment="What each judge said about each goal.",
)

# --- trust: canaries, the health of the panel, labels by people ------------------------------------------------

canaries = Table(
    "canaries",
    metadata,
    _column("canary_id", String, "Hash of trajectory, revisions, kind and goal.", null=False),
    _column("trajectory_id", String, "The trajectory it was made of.", null=False),
    _column("kind", String, "foreign, number, entity, write_left_out, requirement_back or failed_goal.", null=False),
    _column("goal", String, "The goal that is known to be bad; empty for a foreign one.", null=False),
    _column("proven", Boolean, "Whether the checks prove it false; only such canaries count for drift.", null=False),
    _column("judge", String, "Who judged.", null=False),
    _column("prompt_version", String, "Version of the judge's prompt.", null=False),
    _column("is_valid", Boolean, "Yes or no; no where unanswered.", null=False),
    _column("confidence", Double, "The judge's own confidence.", null=False),
    _column("status", String, "ok or unanswered.", null=False),
    _column("accepted", Boolean, "Whether the judge let it pass: valid, and sure enough.", null=False),
    _column("reason", String, "The judge's reason.", null=False),
    _column("at", DateTime, "When it was recorded.", null=False),
    comment="Known-bad goals put to the panel, one row per canary and judge; never a sample.",
)

panel_health = Table(
    "panel_health",
    metadata,
    _column("judge", String, "Who judges.", null=False),
    _column("prompt_version", String, "Version of the judge's prompt.", null=False),
    _column("canaries", BigInteger, "Proven canaries that it answered since it was last cleared.", null=False),
    _column("accepted", BigInteger, "Those that it accepted.", null=False),
    _column("baseline", Integer, "Its first canaries, at the latest look.", null=False),
    _column("baseline_accepted", Integer, "Those of them that it accepted.", null=False),
    _column("latest", Integer, "Its latest canaries, at that look.", null=False),
    _column("latest_accepted", Integer, "Those of them that it accepted.", null=False),
    _column("p", Double, "Fisher's exact test, one-sided; null: not looked at yet."),
    _column("drifting", Boolean, "Whether it accepts more than it did; stays so until a person clears it.", null=False),
    _column("doubtful_at", DateTime, "From when on what it accepted is in doubt; null: never."),
    _column("looked_at", DateTime, "When this row was reckoned.", null=False),
    _column("cleared_at", DateTime, "When a person last cleared it: canaries before that count no more."),
    comment="How each judge stands on known-bad goals; one row per judge and prompt version.",
)
_unique(panel_health, "judge", "prompt_version")

labels = Table(
    "labels",
    metadata,
    _column("label_id", String, "Our UUIDv7 of the label.", null=False),
    _column("kind", String, "accepted, held or disputed: which list it came from.", null=False),
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("sample_id", String, "The sample; null where the outcome is in dispute."),
    _column("agent", String, "Name of the agent; labels outlive the trajectory."),
    _column("verdict", String, "accept or reject.", null=False),
    _column("panel", String, "Relabeler and judges of the sample."),
    _column("at", DateTime, "When the person said so.", null=False),
    _column("undone_at", DateTime, "When it was taken back; null: it counts."),
    _column("applied_at", DateTime, "When it took effect; null: it may still be undone."),
    comment="What people said about samples and disputed outcomes.",
)
_unique(labels, "label_id")

# --- samples and shards -----------------------------------------------------------------------------------

samples = Table(
    "samples",
    metadata,
    _column("sample_id", String, "Hash of trajectory, outcome revision, goal and form.", null=False),
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("goal_id", String, "The hindsight goal; null for a success."),
    _column("kind", String, "hindsight or success.", null=False),
    _column("goal", String, "The goal that is trained.", null=False),
    _column("weight", Double, "Severity weight.", null=False),
    _column("revision", Integer, "Revision it was made of.", null=False),
    _column("outcome_rev", Integer, "Outcome revision it was made of.", null=False),
    _column("relabeling_id", String, "The relabeling that made it; null for a success."),
    _column("content_hash", String, "Hash of what is trained.", null=False),
    _column("created_at", DateTime, "When it was recorded.", null=False),
    _column("size", BigInteger, "Bytes of the payload before compression.", null=False),
    _column("payload", LargeBinary, "The whole sample as JSON, zstd.", null=False),
    comment="Training examples.",
)
_unique(samples, "sample_id")

sample_state = Table(
    "sample_state",
    metadata,
    _column("sample_id", String, "The sample.", null=False),
    _column("trajectory_id", String, "The trajectory.", null=False),
    _column("kind", String, "hindsight or success.", null=False),
    _column("revision", Integer, "Revision it was made of.", null=False),
    _column("content_hash", String, "Hash of what is trained.", null=False),
    _column("state", String, "pending, emitted, retracted or withdrawn.", null=False),
    _column("reason", String, "Why it was withdrawn or retracted."),
    _column("changed_at", DateTime, "When the state was entered.", null=False),
    _column("weight", Double, "Severity weight, beside what else a draw looks at."),
    _column("created_at", DateTime, "When it was recorded."),
    _column("uses", Integer, "How often it was drawn."),
    _column("drawn_at", DateTime, "When it was last drawn; null: never."),
    _column("forgotten_at", DateTime, "When its payload went by age or size; null: it is there."),
    _column("held", String, "Why it must not reach a shard until a person clears it; null: it may."),
    _column("prompt_key", String, "Hash of its prompt; '': it has none; null: not looked at yet."),
    _column("strategy", String, "final, or future for a cut run."),
    _column("writes", Boolean, "Whether it trains a call that changes something."),
    comment="What moves about a sample.",
)
_unique(sample_state, "sample_id")

derived = Table(
    "derived",
    metadata,
    _column("sample_id", String, "The sample that was made; null: none could be."),
    _column("kind", String, "contrast, failure, pair or step.", null=False),
    _column(
        "source_id",
        String,
        "What it was made of: a sample, of a pair the better; of a failure its run.",
        null=False,
    ),
    _column("worse_id", String, "Of a pair or step, the sample of the worse response."),
    _column("worse_trajectory_id", String, "Trajectory of that response."),
    _column("outcome_rev", Integer, "Of a contrast or failure, the outcome revision that says that the goal failed."),
    _column("reason", String, "Why none could be made, as a word that can be counted."),
    _column("at", DateTime, "When it was tried.", null=False),
    comment="Samples made of other samples; they go when one of those goes.",
)

shards = Table(
    "shards",
    metadata,
    _column("seq", BigInteger, "Number in the one sequence of all formats.", null=False),
    _column("format", String, "The one format of its rows.", null=False),
    _column("path", String, "File below the shards folder; null while writing."),
    _column("state", String, "writing, published or abandoned.", null=False),
    _column("reason", String, "Why it was abandoned."),
    _column("rows", BigInteger, "Rows in the file; null while writing."),
    _column("sha256", String, "Hash of the file; null while writing."),
    _column("bytes", BigInteger, "Size of the file; null while writing."),
    _column("begun_at", DateTime, "When its ids were committed.", null=False),
    _column("published_at", DateTime, "When the manifest had its line."),
    comment="Shard files.",
)
_unique(shards, "seq")

sample_shards = Table(
    "sample_shards",
    metadata,
    _column("sample_id", String, "The sample.", null=False),
    _column("seq", BigInteger, "The shard.", null=False),
    _column("format", String, "Its format.", null=False),
    _column("idx", Integer, "Row in the shard, from 0.", null=False),
    comment="Which sample lies in which shard.",
)

set_aside = Table(
    "set_aside",
    metadata,
    _column("sample_id", String, "The sample.", null=False),
    _column("format", String, "The format that it stays out of.", null=False),
    _column("reason", String, "The counted word.", null=False),
    _column("at", DateTime, "When it was set aside.", null=False),
    comment="Samples that a format has no room for.",
)

retractions = Table(
    "retractions",
    metadata,
    _column("sample_id", String, "The sample.", null=False),
    _column("reason", String, "Why.", null=False),
    _column("at", DateTime, "When it was decided.", null=False),
    _column("seq", BigInteger, "Its number in the shards folder; null until published."),
    _column("done_at", DateTime, "When it was published; null: due."),
    comment="Samples of published shards that no longer hold.",
)

draws = Table(
    "draws",
    metadata,
    _column("draw_id", String, "Our UUIDv7 of the draw.", null=False),
    _column("at", DateTime, "When it was drawn.", null=False),
    _column("strategy", String, "uniform, prioritized, fifo or recent.", null=False),
    _column("seed", BigInteger, "Seed of its random numbers.", null=False),
    _column("asked", Integer, "Samples asked for.", null=False),
    _column("n", Integer, "Samples given.", null=False),
    _column("pool", BigInteger, "Samples that could have been drawn.", null=False),
    _column("alpha", Double, "Exponent of the priority.", null=False),
    _column("beta", Double, "Exponent of the importance weight.", null=False),
    _column("half_life_seconds", Double, "Age at which freshness is one half.", null=False),
    _column("decay", Double, "What each use takes from the priority.", null=False),
    _column("condition", String, "The user's SQL condition."),
    _column("max_uses", Integer, "Samples drawn so often are left out."),
    _column("max_staleness_seconds", Double, "Older samples are left out."),
    _column("samples_per_insert", Double, "Draws allowed for each sample made."),
    comment="The log of draws.",
)
_unique(draws, "draw_id")

drawn = Table(
    "drawn",
    metadata,
    _column("draw_id", String, "The draw.", null=False),
    _column("idx", Integer, "Place in the draw, from 0.", null=False),
    _column("sample_id", String, "The sample.", null=False),
    _column("probability", Double, "Chance to be drawn first.", null=False),
    _column("weight", Double, "Importance weight.", null=False),
    comment="What each draw gave.",
)

llm_calls = Table(
    "llm_calls",
    metadata,
    _column("call_key", String, "Hash of model and request.", null=False),
    _column("purpose", String, "detect, extract, relabel or judge.", null=False),
    _column("model", String, "The model asked.", null=False),
    _column("prompt_tokens", BigInteger, "Tokens sent.", null=False),
    _column("completion_tokens", BigInteger, "Tokens received.", null=False),
    _column("cost_usd", Double, "Price; null: unknown."),
    _column("status", String, "How the call ended.", null=False),
    _column("text", String, "The reply."),
    _column("at", DateTime, "When it was answered.", null=False),
    _column("trajectory_id", String, "Trajectory it was asked about; null: unknown or deleted."),
    comment="Calls of chat models, each paid once.",
)
_unique(llm_calls, "call_key")

# --- what was deleted ---------------------------------------------------------------------------------------

tombstones = Table(
    "tombstones",
    metadata,
    _column("key", String, "HMAC of kind and id under the home's key.", null=False),
    _column("kind", String, "trajectory, run, call (a caller's), thread or subject.", null=False),
    _column("key_id", String, "Which key that was: its own HMAC, shortened.", null=False),
    _column("audit_id", String, "The deletion.", null=False),
    _column("at", DateTime, "When it was deleted.", null=False),
    comment="What was deleted, so that it is not taken in again; no id can be read from it.",
)
_unique(tombstones, "key")

origins = Table(
    "origins",
    metadata,
    _column("trajectory_id", String, "The trajectory that is gone.", null=False),
    _column("thread_key", String, "HMAC of its thread under the home's key."),
    _column("subject_key", String, "HMAC of its subject under the home's key."),
    _column("forgotten_at", DateTime, "When it went.", null=False),
    comment="Whose the rows of published shards are, once their trajectory went by age or size.",
)

lent = Table(
    "lent",
    metadata,
    _column("trajectory_id", String, "The trajectory whose user asked for it.", null=False),
    _column("goal_id", String, "The goal of another user's run that is this request, word for word.", null=False),
    _column("sample_id", String, "The sample that was made of it; null: none was."),
    comment="Requests that stand in runs of other users, once retention let go of either side.",
)

audit = Table(
    "audit",
    metadata,
    _column("audit_id", String, "Our UUIDv7 of the deed.", null=False),
    _column("at", DateTime, "When it began.", null=False),
    _column("action", String, "delete, lift, forget or compact.", null=False),
    _column("target", String, "What was named: trajectory, thread or subject."),
    _column("target_key", String, "HMAC of its id under the home's key."),
    _column("reason", String, "Why, in the words of whoever asked."),
    _column("trajectories", BigInteger, "Trajectories that went.", null=False),
    _column("samples", BigInteger, "Samples that went.", null=False),
    _column("shards", BigInteger, "Shards that were written anew.", null=False),
    _column("bytes", BigInteger, "Bytes that came free."),
    _column("consumers", Json, "Who had read them."),
    _column("policy_versions", Json, "What those consumers trained, where known."),
    _column("todo", Json, "What is left to do, if a crash came between; null: nothing."),
    _column("done_at", DateTime, "When it was done."),
    comment="What was done to the data itself: deletions, retention, compaction.",
)
_unique(audit, "audit_id")

meta = Table(
    "meta",
    metadata,
    _column("key", String, "Name.", null=False),
    _column("value", String, "Value.", null=False),
    comment="Facts about the buffer itself.",
)
