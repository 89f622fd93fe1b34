-- What retrying each of these jobs would mean for the money: is its effect there already, is it unknown, or has nothing come of it?
-- Keys are read, and not arguments: a key is text, while what PostgreSQL takes for JSON is narrower than what Stripe sends.
WITH asked AS MATERIALIZED (
    SELECT j.id, j.job_type AS kind, j.idempotency_key AS key, j.cause, j.job_type IN ('grant_purchase', 'refill_tier') AS grants
    FROM pg_catalog.unnest($1::text[]) AS wanted (id) JOIN apalis.jobs j ON j.id = wanted.id
), sent AS (
    -- The newest intent under which each of them let something out.
    SELECT DISTINCT ON (a.id) a.id, i.state,
           EXISTS (SELECT FROM bursar.call c WHERE c.intent_id = i.id AND c.what = 'send' AND c.answered_at IS NULL) AS unanswered
    FROM asked a JOIN bursar.call c ON c.job_id = a.id AND c.intent_id IS NOT NULL JOIN bursar.intent i ON i.id = c.intent_id
    ORDER BY a.id, i.id DESC
)
SELECT a.id AS "id!", a.kind AS "kind!",
       CASE WHEN p.state IN ('paid', 'reversed') OR s.state = 'succeeded' OR posted.id IS NOT NULL THEN 'done'
            WHEN p.state IN ('sending', 'unknown') OR s.state = 'unknown' OR s.unanswered THEN 'unknown'
            ELSE 'safe' END AS "verdict!",
       CASE WHEN p.state IN ('paid', 'reversed') THEN 'its payout is ' || p.state
            WHEN s.state = 'succeeded' THEN 'what it sent had its effect'
            WHEN posted.id IS NOT NULL THEN 'posting ' || posted.id::text || ' is its effect'
            WHEN p.state IN ('sending', 'unknown') THEN 'its payout is ' || p.state || ': it is looked for first'
            WHEN s.state = 'unknown' OR s.unanswered THEN 'it sent something, and the answer is not known: it is looked for first'
            ELSE 'nothing has come of it' END AS "why!",
       p.amount AS "amount?", p.currency AS "currency?", e.body AS "body?"
FROM asked a
LEFT JOIN bursar.payout p ON a.kind = 'pay_receiver' AND p.job_id = regexp_replace(a.key, ':\d+$', '')
LEFT JOIN sent s ON s.id = a.id
-- The event that it is the job of: what that says was paid is what is at stake.
LEFT JOIN LATERAL (SELECT v.body FROM bursar.event v WHERE v.id = a.key AND v.source = 'stripe' AND octet_length(v.body) < 262144) e ON true
-- A posting of its own; and of what an event grants, that of any event about the same object: Stripe tells of one invoice and of one session
-- more than once, and a replay may have made the job anew.
LEFT JOIN LATERAL (
    SELECT min(q.id) AS id FROM (
        SELECT q.id FROM bursar.posting q WHERE q.event_id IN (a.key, a.cause) AND q.job_id = a.id
        UNION ALL
        SELECT q.id FROM bursar.event told JOIN bursar.event o ON o.object_id = told.object_id AND o.source = 'stripe'
            JOIN bursar.posting q ON q.event_id = o.id
        WHERE a.grants AND told.id = a.key AND told.source = 'stripe' AND q.kind IN ('purchase', 'refill', 'plan_change')
        UNION ALL
        -- Asked for by whoever came back from paying, before any event told of it.
        SELECT q.id FROM bursar.event told JOIN bursar.posting q ON q.key = 'purchase:' || told.object_id
        WHERE a.kind = 'grant_purchase' AND told.id = a.key AND told.source = 'stripe'
    ) q
) posted ON true
ORDER BY a.id DESC
