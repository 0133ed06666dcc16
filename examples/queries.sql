-- Questions to a replay buffer. Each can be asked alone: agenther-live sql "…"

-- 1. Which policy version fails most, on what, and what does a usable sample cost? (at_least and at_most are the
-- 95-percent interval of the failure rate. Where calls have no known price, a sample costs more than it says.)
WITH kinds AS (
    SELECT agent, policy_version, failure_type, count(*) AS n
    FROM failures
    GROUP BY agent, policy_version, failure_type
), worst AS (
    SELECT agent, policy_version, string_agg(coalesce(failure_type, 'not analysed') || ' ' || n, ', ' ORDER BY n DESC, failure_type) AS fails_on
    FROM kinds
    GROUP BY agent, policy_version
)
SELECT r.policy_version, r.agent, r.failed, round(1 - r.success_rate, 2) AS failure_rate,
       round(1 - r.high, 2) AS at_least, round(1 - r.low, 2) AS at_most, w.fails_on,
       (SELECT sum(cost_usd) / nullif(sum(usable), 0) FROM sample_costs) AS cost_per_sample_usd,
       (SELECT sum(unpriced_calls) FROM sample_costs) AS unpriced_calls
FROM success_rates AS r
LEFT JOIN worst AS w ON w.agent = r.agent AND w.policy_version IS NOT DISTINCT FROM r.policy_version
ORDER BY failure_rate DESC NULLS LAST;

-- 2. How far did trajectories come, and why did the others stop?
SELECT step, coalesce(reason, '(reached)') AS reason, n
FROM funnel
ORDER BY position, reason NULLS FIRST;

-- 3. How did that look on each day?
SELECT day, sum(captured) AS captured, sum(failed) AS failed, sum(accepted) AS accepted, sum(samples) AS samples
FROM funnel_days
GROUP BY day
ORDER BY day;

-- 4. Is one policy version better than another, or is it chance? (Intervals that do not overlap are a difference.)
SELECT agent, policy_version, trajectories, round(success_rate, 3) AS success_rate, round(low, 3) AS low, round(high, 3) AS high
FROM success_rates
ORDER BY agent, success_rate DESC;

-- 5. What do agents fail on, and how bad is it?
SELECT failure_type, count(*) AS n, round(avg(severity), 2) AS severity, count(*) FILTER (WHERE recoverable) AS recoverable
FROM failures
GROUP BY failure_type
ORDER BY n DESC;

-- 6. Which tools fail most?
SELECT action_name, count(*) AS calls, count(*) FILTER (WHERE is_error) AS errors,
       round(avg(CASE WHEN is_error THEN 1.0 ELSE 0.0 END), 3) AS share
FROM steps
WHERE action_name IS NOT NULL
GROUP BY action_name
ORDER BY errors DESC, calls DESC;

-- 7. At which step are failures lost?
SELECT critical_step, count(*) AS n
FROM failures
WHERE critical_step IS NOT NULL
GROUP BY critical_step
ORDER BY critical_step;

-- 8. What was asked, and what was in fact reached?
SELECT t.goal, g.hindsight_goal, round(g.confidence, 2) AS confidence
FROM goals AS g
JOIN trajectories AS t USING (trajectory_id)
WHERE g.accepted
ORDER BY confidence DESC, t.goal, g.hindsight_goal
LIMIT 20;

-- 9. Why did failures give no sample?
SELECT stage, reason, count(*) AS n, min(detail) AS for_example
FROM relabelings
WHERE stage <> 'relabeled'
GROUP BY stage, reason
ORDER BY n DESC;

-- 10. What do judges say, and how sure are they?
SELECT judge, status, is_valid, count(*) AS n, round(avg(confidence), 2) AS confidence
FROM verdicts
GROUP BY judge, status, is_valid
ORDER BY judge, n DESC;

-- 11. Do the judges of the panel agree?
SELECT judge, other, goals, round(agreement, 2) AS agreement, round(kappa, 2) AS kappa
FROM judge_agreement
ORDER BY goals DESC;

-- 12. What did relabeling cost on each day, and what came of it?
SELECT day, calls, round(cost_usd, 4) AS cost_usd, unpriced_calls, usable, round(cost_per_sample_usd, 4) AS cost_per_sample_usd
FROM sample_costs
ORDER BY day;

-- 13. Which model and purpose cost most?
SELECT model, purpose, count(*) AS calls, sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
       sum(cost_usd) AS cost_usd
FROM llm_calls
GROUP BY model, purpose
ORDER BY cost_usd DESC NULLS LAST;

-- 14. Where do the samples stand, and how many came of failures?
SELECT kind, state, count(*) AS n, round(avg(weight), 2) AS weight
FROM samples
GROUP BY kind, state
ORDER BY kind, state;

-- 15. Which shard holds the samples of a thread? (Put your thread's name in place of task-0001.)
SELECT h.path, l.sample_id, h.published_at
FROM trajectories AS t
JOIN samples AS s USING (trajectory_id)
JOIN sample_shards AS l USING (sample_id)
JOIN shards AS h USING (seq)
WHERE t.thread_id = 'task-0001'
ORDER BY h.seq;

-- 16. Who decides the outcomes, and what is nobody's yet?
SELECT coalesce(outcome_source, 'nobody') AS decided_by, outcome, count(*) AS n
FROM trajectories
GROUP BY outcome_source, outcome
ORDER BY n DESC;

-- 17. What did people say about runs that a machine had judged otherwise?
SELECT p.trajectory_id, p.success AS person, m.source, m.success AS machine, p.comment
FROM feedback AS p
JOIN feedback AS m ON m.trajectory_id = p.trajectory_id AND m.source <> 'person'
WHERE p.source = 'person' AND p.success IS DISTINCT FROM m.success;

-- 18. How long do runs take, and how many tokens, by agent and outcome?
SELECT t.agent, t.outcome, count(DISTINCT t.trajectory_id) AS n, round(median(t.n_steps), 1) AS steps,
       median(epoch(t.finished_at - t.started_at)) AS seconds, round(avg(r.tokens)) AS tokens
FROM trajectories AS t
JOIN (SELECT trajectory_id, sum(prompt_tokens + completion_tokens) AS tokens FROM runs GROUP BY trajectory_id) AS r USING (trajectory_id)
GROUP BY t.agent, t.outcome
ORDER BY t.agent, t.outcome;

-- 19. What was lost on the way: dropped runs, cut fields, damaged lines?
SELECT name, n, last_at
FROM counters
ORDER BY n DESC;

-- 20. Which samples did trainers see most, and how old are they?
SELECT sample_id, kind, failure_type, uses, created_at, drawn_at
FROM replay
ORDER BY uses DESC, created_at, sample_id
LIMIT 20;

-- 21. Does an agent get better or worse from day to day, and is that more than chance? (Put your agent's name in place
-- of buyer. The interval is Wilson's, 95 percent.)
WITH rated AS (
    SELECT day, sum(succeeded) AS succeeded, sum(succeeded + failed) * 1.0 AS n,
           sum(succeeded) / nullif(sum(succeeded + failed) * 1.0, 0) AS rate
    FROM funnel_days
    WHERE agent = 'buyer'
    GROUP BY day
)
SELECT day, CAST(n AS BIGINT) AS judged, round(rate, 2) AS success_rate,
       round((rate + 1.92 / n - 1.96 * sqrt(rate * (1 - rate) / n + 0.96 / (n * n))) / (1 + 3.84 / n), 2) AS low,
       round((rate + 1.92 / n + 1.96 * sqrt(rate * (1 - rate) / n + 0.96 / (n * n))) / (1 + 3.84 / n), 2) AS high
FROM rated
WHERE n > 0
ORDER BY day;

-- 22. About which goals did the judges disagree, and what did each of them say?
SELECT g.trajectory_id, g.hindsight_goal, v.judge, v.is_valid, v.confidence, v.reason
FROM goals AS g
JOIN verdicts AS v USING (goal_id)
WHERE v.status = 'ok'
  AND goal_id IN (SELECT goal_id FROM verdicts WHERE status = 'ok'
                  GROUP BY goal_id HAVING min(CAST(is_valid AS INTEGER)) < max(CAST(is_valid AS INTEGER)))
ORDER BY goal_id, v.judge;

-- 23. What became of one person's data? (Put the value of your subject_key in place of user-17.)
SELECT t.trajectory_id, t.started_at, t.outcome, s.sample_id, s.kind, s.state, h.path AS in_shard,
       (SELECT count(*) FROM drawn AS d WHERE d.sample_id = s.sample_id) AS draws
FROM trajectories AS t
LEFT JOIN samples AS s USING (trajectory_id)
LEFT JOIN sample_shards AS l ON l.sample_id = s.sample_id
LEFT JOIN shards AS h ON h.seq = l.seq
WHERE t.subject = 'user-17'
ORDER BY t.started_at, s.sample_id, h.seq;

-- 24. What did the latest draw from the buffer give?
SELECT w.idx, r.kind, r.goal, round(w.probability, 4) AS probability, round(w.weight, 3) AS weight
FROM drawn AS w
JOIN replay AS r USING (sample_id)
WHERE w.draw_id = (SELECT max(draw_id) FROM draws)
ORDER BY w.idx;
