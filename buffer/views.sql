-- The public SQL of the replay buffer. Tables (schema store) are private and may change; these views do not.
-- Plain enough for DuckDB and PostgreSQL alike. Every view and column has its comment: docs and hints read them.
-- Times are naive UTC. Only current revisions are shown: store.superseded names the rows that no longer count.

CREATE VIEW trajectories AS
SELECT t.trajectory_id, t.thread_id, t.agent, t.policy_version, t.goal, t.final_answer, s.status, s.outcome, s.stage,
       s.reward, s.outcome_source, t.n_runs, t.n_steps, t.n_errors, t.started_at, t.finished_at, t.source, t.subject,
       t.tenant, t.tags, t.flags, t.metadata
FROM store.trajectories AS t
JOIN store.state AS s ON s.trajectory_id = t.trajectory_id AND s.revision = t.revision
WHERE s.merged_into IS NULL;
COMMENT ON VIEW trajectories IS 'One row per trajectory: one logical task, over all its runs.';
COMMENT ON COLUMN trajectories.trajectory_id IS 'Root key of its first run, or the id it was given.';
COMMENT ON COLUMN trajectories.thread_id IS 'LangGraph thread.';
COMMENT ON COLUMN trajectories.agent IS 'Name of the agent.';
COMMENT ON COLUMN trajectories.policy_version IS 'Model and prompts that acted, of its last run.';
COMMENT ON COLUMN trajectories.goal IS 'What was asked.';
COMMENT ON COLUMN trajectories.final_answer IS 'The answer; null where none was given.';
COMMENT ON COLUMN trajectories.status IS 'Execution: open, interrupted, finished, error, cancelled or abandoned.';
COMMENT ON COLUMN trajectories.outcome IS 'success, failure or unknown; unknown is never treated as a failure.';
COMMENT ON COLUMN trajectories.stage IS 'The worker''s: waiting, queued, passed, relabeled, rejected or errored.';
COMMENT ON COLUMN trajectories.reward IS 'Latest reward of the environment, else the score that decided the outcome.';
COMMENT ON COLUMN trajectories.outcome_source IS 'Who decided: person, reward, evaluator, judge or terminal; null: nobody.';
COMMENT ON COLUMN trajectories.n_runs IS 'Runs; more than one after interrupts.';
COMMENT ON COLUMN trajectories.n_steps IS 'Steps, of sub-agents too.';
COMMENT ON COLUMN trajectories.n_errors IS 'Actions whose result is an error.';
COMMENT ON COLUMN trajectories.started_at IS 'Start of its first run.';
COMMENT ON COLUMN trajectories.finished_at IS 'End of its last run.';
COMMENT ON COLUMN trajectories.source IS '''live'', or where it was imported from.';
COMMENT ON COLUMN trajectories.subject IS 'Person it is about: the metadata field that attach names as subject_key.';
COMMENT ON COLUMN trajectories.tenant IS 'Customer it belongs to: the metadata field that attach names as tenant_key.';
COMMENT ON COLUMN trajectories.tags IS 'Tags of attach and of the run, as a JSON array; null: none.';
COMMENT ON COLUMN trajectories.flags IS 'What was cut or is uncertain (docs/capture-details.md), as a JSON array; null: nothing.';
COMMENT ON COLUMN trajectories.metadata IS 'Metadata of the run, as JSON; null: none.';

CREATE VIEW runs AS
SELECT r.root_key, r.run_id, r.trajectory_id, r.idx, r.policy_version, r.status, r.started_at, r.finished_at,
       r.error_type, r.error_message, r.models, r.prompt_tokens, r.completion_tokens, r.tools_version
FROM store.runs AS r
WHERE NOT EXISTS (SELECT 1 FROM store.superseded AS x
                  WHERE x.trajectory_id = r.trajectory_id AND x.revision = r.revision);
COMMENT ON VIEW runs IS 'One row per run (one LangGraph root run) of each trajectory; a fork shares runs with its origin.';
COMMENT ON COLUMN runs.root_key IS 'Our id of the run, a UUIDv7.';
COMMENT ON COLUMN runs.run_id IS 'The caller''s id of the run; callers reuse it.';
COMMENT ON COLUMN runs.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN runs.idx IS 'Order within the trajectory, from 0.';
COMMENT ON COLUMN runs.policy_version IS 'Model and prompts that acted.';
COMMENT ON COLUMN runs.status IS 'How the run ended: finished, interrupted, error, cancelled or abandoned.';
COMMENT ON COLUMN runs.started_at IS 'Start.';
COMMENT ON COLUMN runs.finished_at IS 'End.';
COMMENT ON COLUMN runs.error_type IS 'Type of the error that ended it.';
COMMENT ON COLUMN runs.error_message IS 'Its message.';
COMMENT ON COLUMN runs.models IS 'Chat models that it called, as a JSON array.';
COMMENT ON COLUMN runs.prompt_tokens IS 'Tokens sent to models.';
COMMENT ON COLUMN runs.completion_tokens IS 'Tokens received from models.';
COMMENT ON COLUMN runs.tools_version IS 'Hash of the tool schemas that its models were given, 16 hex digits; null: none.';

CREATE VIEW messages AS
SELECT m.trajectory_id, m.agent_path, m.idx, m.role, m.content, m.tool_calls, m.tool_call_id, m.name, m.in_context
FROM store.messages AS m
WHERE NOT EXISTS (SELECT 1 FROM store.superseded AS x
                  WHERE x.trajectory_id = m.trajectory_id AND x.revision = m.revision);
COMMENT ON VIEW messages IS 'One row per message of each conversation.';
COMMENT ON COLUMN messages.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN messages.agent_path IS ''''' for the root agent, else the path of a nested one.';
COMMENT ON COLUMN messages.idx IS 'Position in the conversation, from 0.';
COMMENT ON COLUMN messages.role IS 'system, developer, user, assistant, tool or function.';
COMMENT ON COLUMN messages.content IS 'Text; content parts as JSON text.';
COMMENT ON COLUMN messages.tool_calls IS 'Tool calls in OpenAI''s form, JSON.';
COMMENT ON COLUMN messages.tool_call_id IS 'The call that a tool message answers.';
COMMENT ON COLUMN messages.name IS 'Name of the speaker or tool.';
COMMENT ON COLUMN messages.in_context IS 'Whether it stood there before this turn; such messages are never trained on.';

CREATE VIEW steps AS
SELECT s.trajectory_id, s.idx, s.action_idx, s.agent_path, s.thought, s.action_name, s.action_input, s.observation,
       s.is_error
FROM store.steps AS s
WHERE NOT EXISTS (SELECT 1 FROM store.superseded AS x
                  WHERE x.trajectory_id = s.trajectory_id AND x.revision = s.revision);
COMMENT ON VIEW steps IS 'One row per action; parallel calls share idx; a turn without an action has one row.';
COMMENT ON COLUMN steps.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN steps.idx IS 'Number of the step, from 0.';
COMMENT ON COLUMN steps.action_idx IS 'Number of the action within the step, from 0.';
COMMENT ON COLUMN steps.agent_path IS ''''' for the root agent, else the path of a nested one.';
COMMENT ON COLUMN steps.thought IS 'Text that the agent wrote beside its actions.';
COMMENT ON COLUMN steps.action_name IS 'The tool; null where the turn took no action.';
COMMENT ON COLUMN steps.action_input IS 'Arguments as JSON text, or a text agent''s command.';
COMMENT ON COLUMN steps.observation IS 'What came back; null where nothing did.';
COMMENT ON COLUMN steps.is_error IS 'Whether what came back is an error.';

CREATE VIEW feedback AS
SELECT e.evidence_id, e.trajectory_id, e.to_run AS run_id, e.to_thread AS thread_id, e.source, e.key, e.success,
       e.score, e.value, e.comment, e.at AS given_at, e.ambiguous
FROM store.evidence AS e;
COMMENT ON VIEW feedback IS 'One row per statement about an outcome, by people, environments, evaluators and judges.';
COMMENT ON COLUMN feedback.evidence_id IS 'Id of the statement.';
COMMENT ON COLUMN feedback.trajectory_id IS 'The trajectory it is bound to; null: its run has not come yet.';
COMMENT ON COLUMN feedback.run_id IS 'The run id it was addressed to.';
COMMENT ON COLUMN feedback.thread_id IS 'The thread it was addressed to.';
COMMENT ON COLUMN feedback.source IS 'person, reward, evaluator, judge or terminal; the first of them decides.';
COMMENT ON COLUMN feedback.key IS 'What is judged; ''success'' unless named.';
COMMENT ON COLUMN feedback.success IS 'Whether the goal was reached; null: the score says.';
COMMENT ON COLUMN feedback.score IS 'A figure that is compared with success_threshold.';
COMMENT ON COLUMN feedback.value IS 'A value in the speaker''s words.';
COMMENT ON COLUMN feedback.comment IS 'Why.';
COMMENT ON COLUMN feedback.given_at IS 'When it was said.';
COMMENT ON COLUMN feedback.ambiguous IS 'Which trajectory is meant is a guess: it is kept, and never decides.';

CREATE VIEW analyses AS
SELECT a.trajectory_id, a.failure_type, a.severity, a.weight, a.recoverable, a.critical_step, a.critical_evidence,
       a.explanation, a.method
FROM store.analyses AS a
JOIN store.state AS s ON s.relabeling_id = a.relabeling_id AND s.trajectory_id = a.trajectory_id
WHERE s.merged_into IS NULL;
COMMENT ON VIEW analyses IS 'What went wrong: the latest analysis of each trajectory that was analysed.';
COMMENT ON COLUMN analyses.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN analyses.failure_type IS
    'incomplete, constraint_violation, wrong_result, tool_error, hallucination or off_topic.';
COMMENT ON COLUMN analyses.severity IS 'v in [0, 1], 1 = worst.';
COMMENT ON COLUMN analyses.weight IS 'w = 1 - v; below the setting delta the trajectory is discarded.';
COMMENT ON COLUMN analyses.recoverable IS 'Whether a hindsight goal may be sought.';
COMMENT ON COLUMN analyses.critical_step IS 'The first step after which the goal was lost.';
COMMENT ON COLUMN analyses.critical_evidence IS 'Indices of the messages that show it, as a JSON array.';
COMMENT ON COLUMN analyses.explanation IS 'Why, in a sentence.';
COMMENT ON COLUMN analyses.method IS 'What analysed it: rules, or a model''s name.';

-- Goals of the latest relabeling, and those of earlier ones from which a sample still lives.
CREATE VIEW store.current_goals AS
SELECT g.*
FROM store.goals AS g
JOIN store.state AS s ON s.relabeling_id = g.relabeling_id AND s.trajectory_id = g.trajectory_id
WHERE s.merged_into IS NULL
UNION ALL
SELECT g.*
FROM store.samples AS p
JOIN store.sample_state AS x ON x.sample_id = p.sample_id AND x.state IN ('pending', 'emitted')
JOIN store.state AS s ON s.trajectory_id = p.trajectory_id AND s.merged_into IS NULL
JOIN store.goals AS g ON g.goal_id = p.goal_id AND g.relabeling_id = p.relabeling_id
WHERE p.relabeling_id <> s.relabeling_id
  AND NOT EXISTS (SELECT 1 FROM store.goals AS h
                  WHERE h.goal_id = p.goal_id AND h.relabeling_id = s.relabeling_id);

CREATE VIEW goals AS
SELECT goal_id, trajectory_id, strategy, hindsight_goal, confidence, accepted, reason, method, attempt, evidence,
       requirements, missed, prompt_version
FROM store.current_goals;
COMMENT ON VIEW goals IS 'One row per hindsight goal that was proposed, accepted or not.';
COMMENT ON COLUMN goals.goal_id IS 'Id of the goal.';
COMMENT ON COLUMN goals.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN goals.strategy IS 'What it is about: final, future for a cut run, or lane for what one of several models saw and said.';
COMMENT ON COLUMN goals.hindsight_goal IS 'The goal that the run in fact reached.';
COMMENT ON COLUMN goals.confidence IS 'Mean confidence of relabeler and panel; never a weight.';
COMMENT ON COLUMN goals.accepted IS 'Whether it became a sample.';
COMMENT ON COLUMN goals.reason IS 'Why, as a word that can be counted.';
COMMENT ON COLUMN goals.method IS 'What proposed it: template, user_goal (another user asked for it), or a model.';
COMMENT ON COLUMN goals.attempt IS 'Which attempt proposed it, from 1; 0: a goal of another user, tried first.';
COMMENT ON COLUMN goals.evidence IS 'Indices of the messages that prove it, as a JSON array.';
COMMENT ON COLUMN goals.requirements IS 'Each requirement with its proof: a JSON array of {text, messages}.';
COMMENT ON COLUMN goals.missed IS 'Parts of the failed goal that are known not to have been reached: a JSON array.';
COMMENT ON COLUMN goals.prompt_version IS 'Version of the prompt that proposed it; null or empty: no prompt.';

CREATE VIEW verdicts AS
SELECT v.goal_id, v.judge, v.is_valid, v.confidence, v.status, v.reason, v.prompt_version
FROM store.verdicts AS v
JOIN store.current_goals AS g ON g.goal_id = v.goal_id AND g.relabeling_id = v.relabeling_id;
COMMENT ON VIEW verdicts IS 'One row per judge and goal.';
COMMENT ON COLUMN verdicts.goal_id IS 'The goal.';
COMMENT ON COLUMN verdicts.judge IS 'Who judged: rules, or a model''s name.';
COMMENT ON COLUMN verdicts.is_valid IS 'Yes or no; no where the judge did not answer.';
COMMENT ON COLUMN verdicts.confidence IS 'The judge''s own confidence in [0, 1].';
COMMENT ON COLUMN verdicts.status IS 'ok, or unanswered: neither a yes nor a no.';
COMMENT ON COLUMN verdicts.reason IS 'The judge''s reason.';
COMMENT ON COLUMN verdicts.prompt_version IS 'Version of the judge''s prompt, or of the rules.';

CREATE VIEW relabelings AS
SELECT r.trajectory_id, r.outcome_rev, r.attempt, r.stage, r.reason, r.detail, r.achievements, r.at AS relabeled_at
FROM store.relabelings AS r
JOIN store.state AS s ON s.trajectory_id = r.trajectory_id AND s.merged_into IS NULL;
COMMENT ON VIEW relabelings IS 'One row per try at relabeling a trajectory.';
COMMENT ON COLUMN relabelings.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN relabelings.outcome_rev IS 'Which outcome it worked on; grows as outcomes change.';
COMMENT ON COLUMN relabelings.attempt IS 'Tries before it that ended in an error.';
COMMENT ON COLUMN relabelings.stage IS 'relabeled, rejected or errored.';
COMMENT ON COLUMN relabelings.reason IS 'Why, as a word that can be counted.';
COMMENT ON COLUMN relabelings.detail IS 'Why, in a sentence.';
COMMENT ON COLUMN relabelings.achievements IS 'What the run achieved and observed: a JSON array of {text, messages, kind}.';
COMMENT ON COLUMN relabelings.relabeled_at IS 'When it was recorded.';

CREATE VIEW failures AS
SELECT t.trajectory_id, t.thread_id, t.agent, t.policy_version, t.goal, t.final_answer, s.status, s.stage, s.reward,
       s.outcome_source, s.outcome_reason, a.failure_type, a.severity, a.weight, a.recoverable, a.critical_step,
       a.explanation, a.method, t.n_steps, t.n_errors, t.error_type, t.started_at, t.finished_at, t.source
FROM store.state AS s
JOIN store.trajectories AS t ON t.trajectory_id = s.trajectory_id AND t.revision = s.revision
LEFT JOIN store.analyses AS a ON a.relabeling_id = s.relabeling_id AND a.trajectory_id = s.trajectory_id
WHERE s.merged_into IS NULL AND s.outcome = 'failure';
COMMENT ON VIEW failures IS 'Failed trajectories with their analysis; its columns are null until they are analysed.';
COMMENT ON COLUMN failures.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN failures.thread_id IS 'LangGraph thread.';
COMMENT ON COLUMN failures.agent IS 'Name of the agent.';
COMMENT ON COLUMN failures.policy_version IS 'Model and prompts that acted.';
COMMENT ON COLUMN failures.goal IS 'What was asked.';
COMMENT ON COLUMN failures.final_answer IS 'The answer; null where none was given.';
COMMENT ON COLUMN failures.status IS 'Execution: finished, error, ….';
COMMENT ON COLUMN failures.stage IS 'The worker''s: waiting, queued, relabeled, rejected or errored.';
COMMENT ON COLUMN failures.reward IS 'Latest reward of the environment, else the deciding score.';
COMMENT ON COLUMN failures.outcome_source IS 'Who said that it failed.';
COMMENT ON COLUMN failures.outcome_reason IS 'Why, in their words.';
COMMENT ON COLUMN failures.failure_type IS 'One of the six types.';
COMMENT ON COLUMN failures.severity IS 'v in [0, 1], 1 = worst.';
COMMENT ON COLUMN failures.weight IS 'w = 1 - v.';
COMMENT ON COLUMN failures.recoverable IS 'Whether a hindsight goal may be sought.';
COMMENT ON COLUMN failures.critical_step IS 'Step after which the goal was lost.';
COMMENT ON COLUMN failures.explanation IS 'Why, in a sentence.';
COMMENT ON COLUMN failures.method IS 'What analysed it.';
COMMENT ON COLUMN failures.n_steps IS 'Steps.';
COMMENT ON COLUMN failures.n_errors IS 'Actions whose result is an error.';
COMMENT ON COLUMN failures.error_type IS 'Type of the error that ended it.';
COMMENT ON COLUMN failures.started_at IS 'Start of its first run.';
COMMENT ON COLUMN failures.finished_at IS 'End of its last run.';
COMMENT ON COLUMN failures.source IS '''live'', or where it was imported from.';

CREATE VIEW samples AS
SELECT p.sample_id, p.trajectory_id, p.goal_id, p.kind, p.weight, x.state, x.reason, x.strategy
FROM store.samples AS p
JOIN store.sample_state AS x ON x.sample_id = p.sample_id;
COMMENT ON VIEW samples IS 'One row per training example.';
COMMENT ON COLUMN samples.sample_id IS 'Hash of trajectory, outcome revision, goal and form.';
COMMENT ON COLUMN samples.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN samples.goal_id IS 'The hindsight goal; null for a success.';
COMMENT ON COLUMN samples.kind IS 'hindsight or success; or what preferences are made of: contrast, failure, pair, step.';
COMMENT ON COLUMN samples.weight IS 'Severity weight w.';
COMMENT ON COLUMN samples.state IS 'pending, emitted, retracted or withdrawn.';
COMMENT ON COLUMN samples.reason IS 'Why it was withdrawn or retracted; null while it lives.';
COMMENT ON COLUMN samples.strategy IS 'final, future for a cut run, or lane for what one of several models saw and said; null in older buffers.';

CREATE VIEW derived AS
SELECT d.sample_id, d.kind, d.source_id, d.worse_id, d.worse_trajectory_id, d.outcome_rev, d.reason,
       d.at AS derived_at
FROM store.derived AS d;
COMMENT ON VIEW derived IS 'Samples made of other samples, for preference formats; they go when one of those goes.';
COMMENT ON COLUMN derived.sample_id IS 'The sample that was made; null: none could be.';
COMMENT ON COLUMN derived.kind IS 'contrast, failure, pair or step.';
COMMENT ON COLUMN derived.source_id IS 'What it was made of: a sample, of a pair the better one; of a failure its trajectory.';
COMMENT ON COLUMN derived.worse_id IS 'Of a pair or step, the sample of the worse response.';
COMMENT ON COLUMN derived.worse_trajectory_id IS 'Trajectory of that response.';
COMMENT ON COLUMN derived.outcome_rev IS 'Of a contrast or failure, the outcome revision that says that the goal failed.';
COMMENT ON COLUMN derived.reason IS 'Why none could be made, as a word that can be counted.';
COMMENT ON COLUMN derived.derived_at IS 'When it was tried.';

CREATE VIEW set_aside AS
SELECT a.sample_id, a.format, a.reason, a.at AS set_aside_at
FROM store.set_aside AS a;
COMMENT ON VIEW set_aside IS 'Samples that one shard format has no room for; others may have.';
COMMENT ON COLUMN set_aside.sample_id IS 'The sample.';
COMMENT ON COLUMN set_aside.format IS 'The format that it stays out of.';
COMMENT ON COLUMN set_aside.reason IS 'Why, as a word that can be counted.';
COMMENT ON COLUMN set_aside.set_aside_at IS 'When that was decided.';

CREATE VIEW sample_shards AS
SELECT l.sample_id, l.seq, l.format
FROM store.sample_shards AS l;
COMMENT ON VIEW sample_shards IS 'Which sample lies in which shard.';
COMMENT ON COLUMN sample_shards.sample_id IS 'The sample.';
COMMENT ON COLUMN sample_shards.seq IS 'The shard.';
COMMENT ON COLUMN sample_shards.format IS 'The shard''s format.';

CREATE VIEW shards AS
SELECT h.seq, h.format, h.path, h.state, h.rows, h.sha256, h.bytes, h.begun_at, h.published_at
FROM store.shards AS h;
COMMENT ON VIEW shards IS 'One row per shard. What trainers may read is said by the manifest in the shards folder.';
COMMENT ON COLUMN shards.seq IS 'Number in the one sequence of all formats.';
COMMENT ON COLUMN shards.format IS 'The one format of its rows.';
COMMENT ON COLUMN shards.path IS 'File below the shards folder; null while writing.';
COMMENT ON COLUMN shards.state IS 'writing, published or abandoned.';
COMMENT ON COLUMN shards.rows IS 'Rows.';
COMMENT ON COLUMN shards.sha256 IS 'Hash of the file.';
COMMENT ON COLUMN shards.bytes IS 'Size of the file.';
COMMENT ON COLUMN shards.begun_at IS 'When its samples were chosen.';
COMMENT ON COLUMN shards.published_at IS 'When readers could see it.';

CREATE VIEW retractions AS
SELECT r.sample_id, r.reason, r.at AS retracted_at, r.seq, r.done_at
FROM store.retractions AS r;
COMMENT ON VIEW retractions IS 'Samples that were in shards and no longer hold.';
COMMENT ON COLUMN retractions.sample_id IS 'The sample.';
COMMENT ON COLUMN retractions.reason IS 'Why, as a word that can be counted.';
COMMENT ON COLUMN retractions.retracted_at IS 'When it was decided.';
COMMENT ON COLUMN retractions.seq IS 'Number of the retraction in the shards folder; null until published.';
COMMENT ON COLUMN retractions.done_at IS 'When it was published.';

CREATE VIEW llm_calls AS
SELECT c.call_key, c.purpose, c.model, c.prompt_tokens, c.completion_tokens, c.cost_usd, c.status,
       c.at AS called_at
FROM store.llm_calls AS c;
COMMENT ON VIEW llm_calls IS 'One row per call of a chat model; each is paid once.';
COMMENT ON COLUMN llm_calls.call_key IS 'Hash of model and request.';
COMMENT ON COLUMN llm_calls.purpose IS 'detect, extract, relabel or judge.';
COMMENT ON COLUMN llm_calls.model IS 'The model.';
COMMENT ON COLUMN llm_calls.prompt_tokens IS 'Tokens sent.';
COMMENT ON COLUMN llm_calls.completion_tokens IS 'Tokens received.';
COMMENT ON COLUMN llm_calls.cost_usd IS 'Price in US dollars; null: unknown.';
COMMENT ON COLUMN llm_calls.status IS 'How the call ended.';
COMMENT ON COLUMN llm_calls.called_at IS 'When it was answered.';

CREATE VIEW counters AS
SELECT c.name, CAST(sum(c.n) AS BIGINT) AS n, max(c.at) AS last_at
FROM store.counts AS c
GROUP BY c.name;
COMMENT ON VIEW counters IS 'What capture and journal counted: dropped runs, truncated fields, damaged lines, ….';
COMMENT ON COLUMN counters.name IS 'What was counted.';
COMMENT ON COLUMN counters.n IS 'How many.';
COMMENT ON COLUMN counters.last_at IS 'When it last grew.';

-- How far each trajectory came, and the word for why not further.
CREATE VIEW store.travellers AS
SELECT s.trajectory_id, s.revision,
       CASE WHEN s.outcome <> 'failure' THEN 1
            WHEN s.recoverable IS NOT TRUE THEN 2
            WHEN s.proposed IS NOT TRUE THEN 3
            WHEN s.stage <> 'relabeled' THEN 4
            WHEN x.alive IS NOT TRUE THEN 5
            ELSE 6 END AS reached,
       CASE WHEN s.outcome = 'success' THEN 'success'
            WHEN s.outcome <> 'failure' AND s.status IN ('finished', 'error') THEN 'unknown'
            WHEN s.outcome <> 'failure' THEN s.status
            WHEN s.stage IN ('waiting', 'queued', 'errored') THEN s.stage
            WHEN s.stage = 'relabeled' THEN coalesce(x.reason, 'withdrawn')
            ELSE coalesce(s.relabel_reason, s.stage) END AS reason
FROM store.state AS s
LEFT JOIN (SELECT trajectory_id, bool_or(state IN ('pending', 'emitted')) AS alive, max(reason) AS reason
           FROM store.sample_state WHERE kind = 'hindsight' GROUP BY trajectory_id) AS x
       ON x.trajectory_id = s.trajectory_id
WHERE s.merged_into IS NULL;

CREATE VIEW store.journeys AS
SELECT reached, reason, count(*) AS n
FROM store.travellers
GROUP BY reached, reason;

CREATE VIEW funnel AS
WITH journeys AS MATERIALIZED (SELECT reached, reason, n FROM store.journeys),
     steps (position, step) AS (VALUES (1, 'captured'), (2, 'failed'), (3, 'recoverable'), (4, 'relabeled'),
                                       (5, 'accepted'), (6, 'samples'))
SELECT p.position, p.step, CAST(NULL AS VARCHAR) AS reason, CAST(coalesce(sum(j.n), 0) AS BIGINT) AS n
FROM steps AS p
LEFT JOIN journeys AS j ON j.reached >= p.position
GROUP BY p.position, p.step
UNION ALL
SELECT p.position, p.step, j.reason, j.n
FROM journeys AS j
JOIN steps AS p ON p.position = j.reached + 1;
COMMENT ON VIEW funnel IS 'How many trajectories reached each step, and why others did not.';
COMMENT ON COLUMN funnel.position IS 'Order of the steps, from 1.';
COMMENT ON COLUMN funnel.step IS 'captured, failed, recoverable, relabeled, accepted or samples.';
COMMENT ON COLUMN funnel.reason IS 'Null: those that reached the step; else why these did not.';
COMMENT ON COLUMN funnel.n IS 'Trajectories.';

CREATE VIEW funnel_days AS
SELECT CAST(t.started_at AS DATE) AS day, t.agent, t.policy_version, count(*) AS captured,
       count(*) FILTER (WHERE j.reached = 1 AND j.reason = 'success') AS succeeded,
       count(*) FILTER (WHERE j.reached >= 2) AS failed,
       count(*) FILTER (WHERE j.reached >= 3) AS recoverable,
       count(*) FILTER (WHERE j.reached >= 4) AS relabeled,
       count(*) FILTER (WHERE j.reached >= 5) AS accepted,
       count(*) FILTER (WHERE j.reached >= 6) AS samples
FROM store.travellers AS j
JOIN store.trajectories AS t ON t.trajectory_id = j.trajectory_id AND t.revision = j.revision
GROUP BY CAST(t.started_at AS DATE), t.agent, t.policy_version;
COMMENT ON VIEW funnel_days IS 'The funnel by day, agent and policy version.';
COMMENT ON COLUMN funnel_days.day IS 'UTC day on which the trajectories began; null: unknown.';
COMMENT ON COLUMN funnel_days.agent IS 'Name of the agent.';
COMMENT ON COLUMN funnel_days.policy_version IS 'Model and prompts that acted.';
COMMENT ON COLUMN funnel_days.captured IS 'Trajectories.';
COMMENT ON COLUMN funnel_days.succeeded IS 'Those that reached their goal.';
COMMENT ON COLUMN funnel_days.failed IS 'Those that did not; the rest of captured is unknown yet.';
COMMENT ON COLUMN funnel_days.recoverable IS 'Failures that taught something.';
COMMENT ON COLUMN funnel_days.relabeled IS 'Those for which a hindsight goal was proposed.';
COMMENT ON COLUMN funnel_days.accepted IS 'Those with a goal that checks and judges accepted.';
COMMENT ON COLUMN funnel_days.samples IS 'Those with a hindsight sample that still holds.';

CREATE VIEW success_rates AS
WITH counted AS (
    SELECT t.agent, t.policy_version, count(*) AS trajectories,
           count(*) FILTER (WHERE s.outcome = 'success') AS succeeded,
           count(*) FILTER (WHERE s.outcome = 'failure') AS failed,
           count(*) FILTER (WHERE s.outcome = 'unknown') AS unknown
    FROM store.trajectories AS t
    JOIN store.state AS s ON s.trajectory_id = t.trajectory_id AND s.revision = t.revision
    WHERE s.merged_into IS NULL
    GROUP BY t.agent, t.policy_version
), judged AS (
    SELECT c.*, CAST(nullif(c.succeeded + c.failed, 0) AS DOUBLE PRECISION) AS n FROM counted AS c
), rated AS (
    SELECT j.*, j.succeeded / j.n AS rate FROM judged AS j
)
SELECT r.agent, r.policy_version, r.trajectories, r.succeeded, r.failed, r.unknown, r.rate AS success_rate,
       (r.rate + 1.9208 / r.n - 1.96 * sqrt(r.rate * (1 - r.rate) / r.n + 0.9604 / (r.n * r.n)))
           / (1 + 3.8416 / r.n) AS low,
       (r.rate + 1.9208 / r.n + 1.96 * sqrt(r.rate * (1 - r.rate) / r.n + 0.9604 / (r.n * r.n)))
           / (1 + 3.8416 / r.n) AS high
FROM rated AS r;
COMMENT ON VIEW success_rates IS 'How often each policy version of each agent reaches its goal, with its 95-percent interval.';
COMMENT ON COLUMN success_rates.agent IS 'Name of the agent.';
COMMENT ON COLUMN success_rates.policy_version IS 'Model and prompts that acted.';
COMMENT ON COLUMN success_rates.trajectories IS 'All of them.';
COMMENT ON COLUMN success_rates.succeeded IS 'Known to have reached the goal.';
COMMENT ON COLUMN success_rates.failed IS 'Known to have not.';
COMMENT ON COLUMN success_rates.unknown IS 'Nobody said; left out of the rate.';
COMMENT ON COLUMN success_rates.success_rate IS 'succeeded / (succeeded + failed); null where nothing is known.';
COMMENT ON COLUMN success_rates.low IS 'Lower end of the 95-percent interval (Wilson''s score interval).';
COMMENT ON COLUMN success_rates.high IS 'Upper end.';

CREATE VIEW sample_costs AS
WITH spent AS (
    SELECT CAST(c.at AS DATE) AS day, count(*) AS calls, sum(c.prompt_tokens) AS prompt_tokens,
           sum(c.completion_tokens) AS completion_tokens, sum(c.cost_usd) AS cost_usd,
           count(*) FILTER (WHERE c.cost_usd IS NULL) AS unpriced_calls
    FROM store.llm_calls AS c
    GROUP BY CAST(c.at AS DATE)
), made AS (
    SELECT CAST(x.created_at AS DATE) AS day, count(*) AS made,
           count(*) FILTER (WHERE x.state IN ('pending', 'emitted')) AS usable
    FROM store.sample_state AS x
    WHERE x.kind = 'hindsight'
    GROUP BY CAST(x.created_at AS DATE)
)
SELECT coalesce(s.day, m.day) AS day, coalesce(s.calls, 0) AS calls,
       CAST(coalesce(s.prompt_tokens, 0) AS BIGINT) AS prompt_tokens,
       CAST(coalesce(s.completion_tokens, 0) AS BIGINT) AS completion_tokens,
       coalesce(s.cost_usd, 0) AS cost_usd, coalesce(s.unpriced_calls, 0) AS unpriced_calls,
       coalesce(m.made, 0) AS made, coalesce(m.usable, 0) AS usable,
       coalesce(s.cost_usd, 0) / nullif(m.usable, 0) AS cost_per_sample_usd
FROM spent AS s
FULL JOIN made AS m ON m.day = s.day;
COMMENT ON VIEW sample_costs IS 'What relabeling spent on each UTC day, and the hindsight samples that it gave.';
COMMENT ON COLUMN sample_costs.day IS 'UTC day.';
COMMENT ON COLUMN sample_costs.calls IS 'Calls of chat models.';
COMMENT ON COLUMN sample_costs.prompt_tokens IS 'Tokens sent.';
COMMENT ON COLUMN sample_costs.completion_tokens IS 'Tokens received.';
COMMENT ON COLUMN sample_costs.cost_usd IS 'Price in US dollars of the calls whose price is known.';
COMMENT ON COLUMN sample_costs.unpriced_calls IS 'Calls whose price is unknown: the cost is at least this.';
COMMENT ON COLUMN sample_costs.made IS 'Hindsight samples made on that day.';
COMMENT ON COLUMN sample_costs.usable IS 'Those that still hold.';
COMMENT ON COLUMN sample_costs.cost_per_sample_usd IS 'cost_usd / usable; null where there is none.';

CREATE VIEW judge_agreement AS
WITH answers AS (
    SELECT v.goal_id, v.relabeling_id, v.judge, CASE WHEN v.is_valid THEN 1.0 ELSE 0.0 END AS yes
    FROM store.verdicts AS v
    JOIN store.current_goals AS g ON g.goal_id = v.goal_id AND g.relabeling_id = v.relabeling_id
    WHERE v.status = 'ok'
    UNION ALL
    SELECT p.goal_id, p.relabeling_id, 'person', CASE WHEN l.verdict = 'accept' THEN 1.0 ELSE 0.0 END
    FROM store.labels AS l
    JOIN store.samples AS p ON p.sample_id = l.sample_id
    WHERE l.undone_at IS NULL AND l.kind <> 'disputed'
), pairs AS (
    SELECT a.judge, b.judge AS other, count(*) AS goals,
           count(*) FILTER (WHERE a.yes = 1 AND b.yes = 1) AS both_yes,
           count(*) FILTER (WHERE a.yes = 0 AND b.yes = 0) AS both_no,
           CAST(avg(CASE WHEN a.yes = b.yes THEN 1.0 ELSE 0.0 END) AS DOUBLE PRECISION) AS agreement,
           CAST(avg(a.yes) AS DOUBLE PRECISION) AS yes, CAST(avg(b.yes) AS DOUBLE PRECISION) AS other_yes
    FROM answers AS a
    JOIN answers AS b ON b.goal_id = a.goal_id AND b.relabeling_id = a.relabeling_id
        AND (a.judge < b.judge AND 'person' NOT IN (a.judge, b.judge) OR a.judge <> 'person' AND b.judge = 'person')
    GROUP BY a.judge, b.judge
), chances AS (
    SELECT p.*, p.yes * p.other_yes + (1 - p.yes) * (1 - p.other_yes) AS chance,
           (p.yes + p.other_yes) * (2 - p.yes - p.other_yes) / 2 AS either
    FROM pairs AS p
)
SELECT c.judge, c.other, c.goals, c.both_yes, c.both_no, c.agreement,
       (c.agreement - c.chance) / nullif(1 - c.chance, 0) AS kappa,
       (c.agreement - c.either) / (1 - c.either) AS ac1,
       1 - (1 - c.agreement) / nullif(c.either * 2 * c.goals / (2 * c.goals - 1), 0) AS alpha
FROM chances AS c;
COMMENT ON VIEW judge_agreement IS 'How often two judges, or a judge and a person, say the same about one goal; unanswered ones left out.';
COMMENT ON COLUMN judge_agreement.judge IS 'One judge.';
COMMENT ON COLUMN judge_agreement.other IS 'The other; ''person'' is whoever labeled the sample by agenther-live review.';
COMMENT ON COLUMN judge_agreement.goals IS 'Goals that both answered about; people see accepted ones only.';
COMMENT ON COLUMN judge_agreement.both_yes IS 'Goals that both called valid.';
COMMENT ON COLUMN judge_agreement.both_no IS 'Goals that neither did.';
COMMENT ON COLUMN judge_agreement.agreement IS 'Share of goals about which they agree, raw.';
COMMENT ON COLUMN judge_agreement.kappa IS 'Cohen''s kappa: agreement beyond chance; null where both always say the same word.';
COMMENT ON COLUMN judge_agreement.ac1 IS 'Gwet''s AC1: as kappa, but it holds up where nearly all answers are the same word.';
COMMENT ON COLUMN judge_agreement.alpha IS 'Krippendorff''s alpha for nominal answers; null where both always say the same word.';

CREATE VIEW canaries AS
SELECT c.canary_id, c.trajectory_id, c.kind, c.goal, c.proven, c.judge, c.prompt_version, c.is_valid, c.confidence,
       c.status, c.accepted, c.reason, c.at AS judged_at
FROM store.canaries AS c;
COMMENT ON VIEW canaries IS 'One row per judge and canary: a known-bad goal, made of a real item, that is never a sample.';
COMMENT ON COLUMN canaries.canary_id IS 'The canary.';
COMMENT ON COLUMN canaries.trajectory_id IS 'The trajectory whose span it shows.';
COMMENT ON COLUMN canaries.kind IS 'foreign, number, entity, write_left_out, requirement_back or failed_goal.';
COMMENT ON COLUMN canaries.goal IS 'The goal; empty for a foreign one, whose words belong to another run.';
COMMENT ON COLUMN canaries.proven IS 'The checks prove it false; only these count for drift.';
COMMENT ON COLUMN canaries.judge IS 'Who judged.';
COMMENT ON COLUMN canaries.prompt_version IS 'Version of the judge''s prompt.';
COMMENT ON COLUMN canaries.is_valid IS 'Yes or no; no where the judge did not answer.';
COMMENT ON COLUMN canaries.confidence IS 'The judge''s own confidence in [0, 1].';
COMMENT ON COLUMN canaries.status IS 'ok, or unanswered: neither a yes nor a no.';
COMMENT ON COLUMN canaries.accepted IS 'Whether the judge let it pass: valid, and sure enough.';
COMMENT ON COLUMN canaries.reason IS 'The judge''s reason; empty for a foreign one.';
COMMENT ON COLUMN canaries.judged_at IS 'When it was recorded.';

CREATE VIEW panel_health AS
SELECT h.judge, h.prompt_version, h.canaries, h.accepted, h.baseline, h.baseline_accepted, h.latest, h.latest_accepted,
       h.p, h.drifting, h.doubtful_at, h.looked_at, h.cleared_at
FROM store.panel_health AS h;
COMMENT ON VIEW panel_health IS 'How each judge stands on known-bad goals; a judge that drifts stops emission.';
COMMENT ON COLUMN panel_health.judge IS 'The judge.';
COMMENT ON COLUMN panel_health.prompt_version IS 'Version of its prompt: another prompt is another series.';
COMMENT ON COLUMN panel_health.canaries IS 'Proven canaries that it answered, since it was last cleared.';
COMMENT ON COLUMN panel_health.accepted IS 'Those that it accepted; each is a mistake.';
COMMENT ON COLUMN panel_health.baseline IS 'Its first canaries, 200 at most, at the latest look.';
COMMENT ON COLUMN panel_health.baseline_accepted IS 'Those of them that it accepted.';
COMMENT ON COLUMN panel_health.latest IS 'Its latest canaries, 100 at most, at that look.';
COMMENT ON COLUMN panel_health.latest_accepted IS 'Those of them that it accepted.';
COMMENT ON COLUMN panel_health.p IS 'Fisher''s exact test, one-sided; null before 100 canaries.';
COMMENT ON COLUMN panel_health.drifting IS 'p was below 0.01 at a look, and nobody cleared it since.';
COMMENT ON COLUMN panel_health.doubtful_at IS 'Samples that it accepted from then on are held; null: none.';
COMMENT ON COLUMN panel_health.looked_at IS 'When it was last reckoned.';
COMMENT ON COLUMN panel_health.cleared_at IS 'When a person last cleared it: canaries before that count no more.';

CREATE VIEW labels AS
SELECT l.label_id, l.kind, l.trajectory_id, l.sample_id, l.agent, l.verdict, l.panel, l.at AS labeled_at,
       l.applied_at
FROM store.labels AS l
WHERE l.undone_at IS NULL;
COMMENT ON VIEW labels IS 'What people said at agenther-live review; labels that were undone are left out.';
COMMENT ON COLUMN labels.label_id IS 'Id of the label, a UUIDv7.';
COMMENT ON COLUMN labels.kind IS 'accepted, held or disputed: which list it came from; accepted ones certify.';
COMMENT ON COLUMN labels.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN labels.sample_id IS 'The sample; null where the outcome was in dispute.';
COMMENT ON COLUMN labels.agent IS 'Name of the agent.';
COMMENT ON COLUMN labels.verdict IS 'accept or reject.';
COMMENT ON COLUMN labels.panel IS 'Relabeler and judges of the sample, with bars between.';
COMMENT ON COLUMN labels.labeled_at IS 'When it was said.';
COMMENT ON COLUMN labels.applied_at IS 'When it took effect; null: it may still be undone.';

CREATE VIEW to_review AS
SELECT 'disputed' AS kind, s.trajectory_id, CAST(NULL AS VARCHAR) AS sample_id, t.agent, s.outcome_reason AS reason,
       s.stage_at AS since
FROM store.state AS s
JOIN store.trajectories AS t ON t.trajectory_id = s.trajectory_id AND t.revision = s.revision
WHERE s.merged_into IS NULL AND s.outcome = 'unknown' AND s.outcome_source = 'judge'
  AND EXISTS (SELECT 1 FROM store.evidence AS e
              WHERE e.trajectory_id = s.trajectory_id AND e.source = 'judge' AND e.key = 'dispute')
  AND NOT EXISTS (SELECT 1 FROM store.labels AS l
                  WHERE l.trajectory_id = s.trajectory_id AND l.kind = 'disputed' AND l.undone_at IS NULL)
UNION ALL
SELECT CASE WHEN x.held IS NULL THEN 'accepted' ELSE 'held' END, x.trajectory_id, x.sample_id, t.agent,
       coalesce(x.held, 'accepted'), x.created_at
FROM store.sample_state AS x
JOIN store.state AS s ON s.trajectory_id = x.trajectory_id
JOIN store.trajectories AS t ON t.trajectory_id = s.trajectory_id AND t.revision = s.revision
WHERE x.kind = 'hindsight' AND x.state IN ('pending', 'emitted') AND x.forgotten_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM store.labels AS l WHERE l.sample_id = x.sample_id AND l.undone_at IS NULL);
COMMENT ON VIEW to_review IS 'What a person may look at by agenther-live review, and nobody labeled yet.';
COMMENT ON COLUMN to_review.kind IS 'accepted samples, held ones, or disputed outcomes.';
COMMENT ON COLUMN to_review.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN to_review.sample_id IS 'The sample; null where the outcome is in dispute.';
COMMENT ON COLUMN to_review.agent IS 'Name of the agent.';
COMMENT ON COLUMN to_review.reason IS 'Why it is listed.';
COMMENT ON COLUMN to_review.since IS 'Since when it is.';

CREATE VIEW replay AS
SELECT x.sample_id, x.trajectory_id, x.kind, x.state, x.weight, x.uses, x.created_at, x.drawn_at, t.agent,
       t.policy_version, t.thread_id, t.goal AS original_goal, p.goal, a.failure_type, a.severity
FROM store.sample_state AS x
JOIN store.samples AS p ON p.sample_id = x.sample_id
JOIN store.state AS s ON s.trajectory_id = x.trajectory_id
JOIN store.trajectories AS t ON t.trajectory_id = s.trajectory_id AND t.revision = s.revision
LEFT JOIN store.analyses AS a ON a.relabeling_id = p.relabeling_id AND a.trajectory_id = p.trajectory_id
WHERE x.state IN ('pending', 'emitted') AND x.kind IN ('hindsight', 'success') AND x.held IS NULL
  AND s.merged_into IS NULL;
COMMENT ON VIEW replay IS 'The samples that `live.buffer.sample()` draws from; its `where` is a condition over this view.';
COMMENT ON COLUMN replay.sample_id IS 'The sample.';
COMMENT ON COLUMN replay.trajectory_id IS 'The trajectory.';
COMMENT ON COLUMN replay.kind IS 'hindsight or success.';
COMMENT ON COLUMN replay.state IS 'pending or emitted.';
COMMENT ON COLUMN replay.weight IS 'Severity weight w.';
COMMENT ON COLUMN replay.uses IS 'How often it was drawn.';
COMMENT ON COLUMN replay.created_at IS 'When it was made.';
COMMENT ON COLUMN replay.drawn_at IS 'When it was last drawn; null: never.';
COMMENT ON COLUMN replay.agent IS 'Name of the agent.';
COMMENT ON COLUMN replay.policy_version IS 'Model and prompts that acted.';
COMMENT ON COLUMN replay.thread_id IS 'LangGraph thread.';
COMMENT ON COLUMN replay.original_goal IS 'What was asked.';
COMMENT ON COLUMN replay.goal IS 'The goal that is trained.';
COMMENT ON COLUMN replay.failure_type IS 'One of the six types; null for a success.';
COMMENT ON COLUMN replay.severity IS 'v in [0, 1], 1 = worst; null for a success.';

CREATE VIEW draws AS
SELECT d.draw_id, d.at AS drawn_at, d.strategy, d.seed, d.asked, d.n, d.pool, d.alpha, d.beta, d.half_life_seconds,
       d.decay, d.condition, d.max_uses, d.max_staleness_seconds, d.samples_per_insert
FROM store.draws AS d;
COMMENT ON VIEW draws IS 'One row per draw from the buffer: what was asked of it.';
COMMENT ON COLUMN draws.draw_id IS 'Id of the draw.';
COMMENT ON COLUMN draws.drawn_at IS 'When it was drawn.';
COMMENT ON COLUMN draws.strategy IS 'uniform, prioritized, fifo or recent.';
COMMENT ON COLUMN draws.seed IS 'Seed of its random numbers.';
COMMENT ON COLUMN draws.asked IS 'Samples asked for.';
COMMENT ON COLUMN draws.n IS 'Samples given.';
COMMENT ON COLUMN draws.pool IS 'Samples that could have been drawn.';
COMMENT ON COLUMN draws.alpha IS 'Exponent of the priority.';
COMMENT ON COLUMN draws.beta IS 'Exponent of the importance weight.';
COMMENT ON COLUMN draws.half_life_seconds IS 'Age at which freshness is one half.';
COMMENT ON COLUMN draws.decay IS 'What each use takes from the priority.';
COMMENT ON COLUMN draws.condition IS 'The SQL condition; null: none.';
COMMENT ON COLUMN draws.max_uses IS 'Samples drawn so often were left out; null: no limit.';
COMMENT ON COLUMN draws.max_staleness_seconds IS 'Older samples were left out; null: no limit.';
COMMENT ON COLUMN draws.samples_per_insert IS 'Draws allowed for each sample made; null: no limit.';

CREATE VIEW drawn AS
SELECT w.draw_id, w.idx, w.sample_id, w.probability, w.weight
FROM store.drawn AS w;
COMMENT ON VIEW drawn IS 'One row per sample of each draw, in order.';
COMMENT ON COLUMN drawn.draw_id IS 'The draw.';
COMMENT ON COLUMN drawn.idx IS 'Place in the draw, from 0.';
COMMENT ON COLUMN drawn.sample_id IS 'The sample.';
COMMENT ON COLUMN drawn.probability IS 'Chance to be drawn first; 1 where the order is fixed (fifo, recent).';
COMMENT ON COLUMN drawn.weight IS 'Importance weight (pool * probability)^-beta, over the largest of the draw.';

CREATE VIEW audit AS
SELECT a.audit_id, a.at AS begun_at, a.action, a.target, a.target_key, a.reason, a.trajectories, a.samples, a.shards,
       a.bytes, a.consumers, a.policy_versions, a.done_at
FROM store.audit AS a;
COMMENT ON VIEW audit IS 'One row per deed on the data itself: deletions, retention, compaction.';
COMMENT ON COLUMN audit.audit_id IS 'Id of the deed.';
COMMENT ON COLUMN audit.begun_at IS 'When it began.';
COMMENT ON COLUMN audit.action IS 'delete; lift (of a deletion); forget, by age, count or bytes; compact.';
COMMENT ON COLUMN audit.target IS 'What was named: trajectory, thread or subject.';
COMMENT ON COLUMN audit.target_key IS 'HMAC of its id under the home''s key: tells equal targets, names nobody.';
COMMENT ON COLUMN audit.reason IS 'Why, in the words of whoever asked.';
COMMENT ON COLUMN audit.trajectories IS 'Trajectories that went.';
COMMENT ON COLUMN audit.samples IS 'Samples that went.';
COMMENT ON COLUMN audit.shards IS 'Shards that were written anew without them.';
COMMENT ON COLUMN audit.bytes IS 'Bytes that came free; null where that was not measured.';
COMMENT ON COLUMN audit.consumers IS 'Who had read them, as a JSON array: consumer, format, seq, policy_version.';
COMMENT ON COLUMN audit.policy_versions IS 'Policy versions that those consumers named, as a JSON array.';
COMMENT ON COLUMN audit.done_at IS 'When it was done; null: it was begun, and is finished by the worker or by doctor.';
