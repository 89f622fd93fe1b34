-- Schedules, as the settings declare them. The queue drives them: of each schedule one job waits for its next tick, fires what is to be
-- fired under `{schedule}:{tick}`, and enqueues its successor, all in one transaction. However many workers run, a tick fires once.
CREATE TABLE bursar.schedule (
    name     text PRIMARY KEY CONSTRAINT schedule_name_sane CHECK (name ~ '^[a-z0-9_-]{1,100}$'),
    cron     text NOT NULL,                          -- in UTC, by business time
    kind     text NOT NULL,                          -- the job that it fires
    args     jsonb NOT NULL CONSTRAINT schedule_args_are_an_object CHECK (jsonb_typeof(args) = 'object'),
    catch_up text NOT NULL CONSTRAINT schedule_catch_up_known CHECK (catch_up IN ('once', 'all', 'none')),
    source   text NOT NULL CONSTRAINT schedule_source_known CHECK (source IN ('settings', 'built in')),
    paused   boolean NOT NULL DEFAULT false,         -- by an operator: ticks pass and fire nothing
    -- Which chain of waiting jobs counts: a changed time begins a new one, and the old one ends by itself.
    chain    integer NOT NULL DEFAULT 1,
    next_at  timestamptz,                            -- null: its time never comes again
    last_at  timestamptz,                            -- the last tick that fired
    changed_at timestamptz NOT NULL DEFAULT bursar.now()
);

-- Skills whose use is reported to Stripe, as the settings declare them.
CREATE TABLE bursar.meter (
    skill      text PRIMARY KEY,
    event_name text NOT NULL,                        -- of the meter at Stripe
    value      text NOT NULL CONSTRAINT meter_value_known CHECK (value IN ('count', 'credits')),
    active     boolean NOT NULL DEFAULT true,        -- no longer declared: what was spent before is still reported
    since      timestamptz NOT NULL DEFAULT bursar.now()
);

-- What was reported: all that was spent on one skill by one user in one hour and had not been reported before. `nth` counts those that came
-- late: a transaction that was still open when its hour was summed.
CREATE TABLE bursar.usage_report (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identifier  text NOT NULL CONSTRAINT usage_report_identifier_once UNIQUE,  -- Stripe counts one once; at most 100 characters
    user_id     text NOT NULL,
    skill       text NOT NULL,
    hour        timestamptz NOT NULL,                -- its beginning, in business time
    nth         integer NOT NULL CHECK (nth >= 1),
    event_name  text NOT NULL,
    value       bigint NOT NULL CHECK (value >= 0),  -- as it is sent: how often, or whole credits
    spends      integer NOT NULL CHECK (spends > 0),
    -- Millionths of all that this user ever spent on this skill, with this report: Stripe counts whole numbers, so each report says by how
    -- many whole credits this grew, and a fraction counts with what comes.
    total       bigint NOT NULL CHECK (total >= 0),
    state       text NOT NULL DEFAULT 'open' CONSTRAINT usage_report_state_known CHECK (state IN ('open', 'unknown', 'sent', 'refused')),
    reason      text,
    created_at  timestamptz NOT NULL DEFAULT bursar.now(),
    CONSTRAINT usage_report_once UNIQUE (user_id, skill, hour, nth)
);

CREATE INDEX usage_report_last ON bursar.usage_report (user_id, skill, id);

-- Spends of metered skills, and the report that each is in. A row comes with its spend, in one transaction.
CREATE TABLE bursar.metered_spend (
    posting bigint PRIMARY KEY,
    user_id text NOT NULL,
    skill   text NOT NULL,
    hour    timestamptz NOT NULL,
    amount  bigint NOT NULL,                         -- millionths
    report  bigint REFERENCES bursar.usage_report (id) -- null until it is in one
);
CREATE INDEX metered_spend_to_report ON bursar.metered_spend (hour) WHERE report IS NULL;
CREATE INDEX metered_spend_by_report ON bursar.metered_spend (report) WHERE report IS NOT NULL;

-- Takes credits for a use of a skill, as bursar.spend() does, and counts it where the skill is metered. In the caller's transaction.
CREATE FUNCTION bursar.spend_skill(user_id text, skill text, credits numeric, key text, ref text DEFAULT NULL, why text DEFAULT NULL)
RETURNS TABLE (status text, posting_id bigint, balance numeric) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    spent record;
BEGIN
    SELECT s.* INTO spent FROM bursar.spend(spend_skill.user_id, spend_skill.credits, spend_skill.key, spend_skill.ref, spend_skill.why) s;
    IF spent.status = 'done' THEN
        INSERT INTO bursar.metered_spend (posting, user_id, skill, hour, amount)
        SELECT p.id, spend_skill.user_id, m.skill, date_trunc('hour', p.posted_at, 'UTC'), p.amount
        FROM bursar.posting p JOIN bursar.meter m ON m.skill = spend_skill.skill AND m.active AND m.since <= p.posted_at
        WHERE p.id = spent.posting_id
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN QUERY SELECT spent.status, spent.posting_id, spent.balance;
END $$;

-- Puts what was spent before a moment and is in no report into one: a report for each user, skill and hour. One at a time. A spend that was
-- returned before its hour was summed is not reported.
CREATE FUNCTION bursar.sum_usage(before timestamptz) RETURNS TABLE (report bigint, identifier text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('usage', 0));
    -- A statement of its own, for a snapshot that sees what the one before us made.
    DELETE FROM bursar.metered_spend s
    WHERE s.report IS NULL AND s.hour < before AND EXISTS (SELECT FROM bursar.posting r WHERE r.reverses = s.posting);
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT s.posting, s.user_id, s.skill, s.hour, s.amount FROM bursar.metered_spend s
        WHERE s.report IS NULL AND s.hour < before ORDER BY s.posting LIMIT 100000 FOR UPDATE
    ), sums AS (
        SELECT d.user_id, d.skill, d.hour, count(*)::integer AS spends, sum(d.amount)::bigint AS amount,
               1 + coalesce((SELECT max(r.nth) FROM bursar.usage_report r WHERE (r.user_id, r.skill, r.hour) = (d.user_id, d.skill, d.hour)), 0) AS nth
        FROM due d GROUP BY d.user_id, d.skill, d.hour
    ), totals AS (
        SELECT s.*, coalesce((SELECT r.total FROM bursar.usage_report r WHERE (r.user_id, r.skill) = (s.user_id, s.skill) ORDER BY r.id DESC LIMIT 1), 0)
                    + (sum(s.amount) OVER (PARTITION BY s.user_id, s.skill ORDER BY s.hour))::bigint AS total
        FROM sums s
    ), named AS (
        -- A colon within a name is escaped, so that no two of them read alike; what is too long for Stripe is a digest of itself.
        SELECT s.*, concat_ws(':', 'usage', replace(replace(s.user_id, '%', '%25'), ':', '%3A'), replace(replace(s.skill, '%', '%25'), ':', '%3A'),
                              to_char(s.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"Z"'), CASE WHEN s.nth > 1 THEN s.nth END) AS name
        FROM totals s
    ), made AS (
        INSERT INTO bursar.usage_report AS r (identifier, user_id, skill, hour, nth, event_name, value, spends, total)
        SELECT CASE WHEN length(n.name) <= 100 AND n.name ~ '^[!-~]+$' THEN n.name
                    ELSE 'usage:sha256:' || encode(sha256(convert_to(n.name, 'UTF8')), 'hex') END,
               n.user_id, n.skill, n.hour, n.nth, m.event_name,
               CASE m.value WHEN 'count' THEN n.spends ELSE n.total / 1000000 - (n.total - n.amount) / 1000000 END, n.spends, n.total
        FROM named n JOIN bursar.meter m ON m.skill = n.skill
        ORDER BY n.user_id, n.skill, n.hour          -- the last of them has the largest id
        RETURNING r.id, r.identifier, r.user_id, r.skill, r.hour
    ), marked AS (
        UPDATE bursar.metered_spend s SET report = m.id
        FROM due d JOIN made m ON (m.user_id, m.skill, m.hour) = (d.user_id, d.skill, d.hour)
        WHERE s.posting = d.posting
    )
    SELECT m.id, m.identifier FROM made m;
END $$;
