-- Two clocks. *Real time*, clock_timestamp(), judges leases, deadlines and renewals. *Business time*, bursar.now(), judges everything
-- else: when a job is ready, periods, waits, the age of idempotency keys, and the dates in the books. They are the same, but for a
-- database that has worked with a sandbox and nothing else: there business time can be moved ahead, together with the sandbox's.
CREATE TABLE bursar.clock (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    ahead interval NOT NULL CONSTRAINT clock_only_forward CHECK (ahead >= interval '0')
);

-- How far business time is ahead of real time. By the index: a claim forbids other scans, and a forbidden one costs more than it may.
-- In plpgsql, which keeps its plan: receipts run at 0.93 of their rate without a second clock, and with the same in sql at 0.70.
CREATE FUNCTION bursar.ahead() RETURNS interval LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT c.ahead FROM bursar.clock c WHERE c.one), interval '0');
END $$;

-- Business time. Like clock_timestamp() it goes on within a statement: ask once where one moment is meant.
CREATE FUNCTION bursar.now() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN clock_timestamp() + coalesce((SELECT c.ahead FROM bursar.clock c WHERE c.one), interval '0');
END $$;

-- A database whose money is real, or might be, has no moved clock: the database itself refuses, whoever asks.
CREATE FUNCTION bursar.guard_clock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Waits for whoever is about to say otherwise.
    IF NOT EXISTS (SELECT FROM bursar.setting s WHERE s.name = 'stripe' AND s.value = 'sandbox' FOR SHARE) THEN
        RAISE EXCEPTION 'business time can be moved only where Stripe is a sandbox and never was anything else'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.ahead < OLD.ahead THEN
        RAISE EXCEPTION 'business time does not go back' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON bursar.clock FOR EACH ROW EXECUTE FUNCTION bursar.guard_clock();

-- What the database has worked with stays said: without this, a sandbox's database could be passed for a real one, its clock still moved.
CREATE FUNCTION bursar.guard_setting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM bursar.clock) THEN
        RAISE EXCEPTION 'the business time of this database was moved: it is a sandbox''s for good'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER guard BEFORE UPDATE OF name, value OR DELETE ON bursar.setting
    FOR EACH ROW WHEN (OLD.name = 'stripe') EXECUTE FUNCTION bursar.guard_setting();

ALTER TABLE apalis.jobs ALTER COLUMN enqueued_at SET DEFAULT bursar.now();
ALTER TABLE bursar.event ALTER COLUMN received_at SET DEFAULT bursar.now();
ALTER TABLE bursar.account ALTER COLUMN opened_at SET DEFAULT bursar.now();
ALTER TABLE bursar.posting ALTER COLUMN posted_at SET DEFAULT bursar.now();
ALTER TABLE bursar.customer ALTER COLUMN linked_at SET DEFAULT bursar.now();
ALTER TABLE bursar.payout ALTER COLUMN recorded_at SET DEFAULT bursar.now(), ALTER COLUMN changed_at SET DEFAULT bursar.now();
ALTER TABLE bursar.intent ALTER COLUMN created_at SET DEFAULT bursar.now(), ALTER COLUMN changed_at SET DEFAULT bursar.now();
ALTER TABLE bursar.call ALTER COLUMN begun_at SET DEFAULT bursar.now();
ALTER TABLE bursar.receiver ALTER COLUMN changed_at SET DEFAULT bursar.now();

-- As before, by business time.
CREATE OR REPLACE FUNCTION bursar.is_young(since timestamptz) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT since BETWEEN bursar.now() - interval '23 hours' AND bursar.now() + interval '5 minutes'
$$;

CREATE OR REPLACE FUNCTION bursar.enqueue(jobs jsonb)
RETURNS TABLE (ord bigint, id text, already boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := bursar.now();
BEGIN
    RETURN QUERY
    WITH wanted AS MATERIALIZED (
        SELECT * FROM ROWS FROM (jsonb_to_recordset(jobs)
            AS (kind text, key text, args jsonb, max_attempts integer, delay_ms bigint, cause text))
            WITH ORDINALITY AS w (kind, key, args, max_attempts, delay_ms, cause, ord)
    ), made AS (
        INSERT INTO apalis.jobs AS j (id, job_type, idempotency_key, job, status, attempts, max_attempts, allowance, run_at, enqueued_at, cause)
        SELECT bursar.new_id(), w.kind, w.key, convert_to(w.args::text, 'UTF8'), 'Pending', 0, w.max_attempts, w.max_attempts,
               moment + coalesce(w.delay_ms, 0) * interval '1 millisecond', moment, w.cause
        FROM wanted w ORDER BY w.kind, w.key                                -- one order, so that two batches cannot deadlock
        ON CONFLICT (job_type, idempotency_key) DO NOTHING
        RETURNING j.id, j.job_type, j.idempotency_key
    )
    SELECT w.ord, m.id, m.id IS NULL OR row_number() OVER (PARTITION BY w.kind, w.key ORDER BY w.ord) > 1
    FROM wanted w LEFT JOIN made m ON m.job_type = w.kind AND m.idempotency_key = w.key
    ORDER BY w.ord;
    PERFORM bursar.wake();
END $$;

-- As before, by business time; it also tells the moment, by which a job judges periods.
DROP FUNCTION bursar.claim;
CREATE FUNCTION bursar.claim(worker text, kinds text[], limits integer[], timeouts_ms bigint[], most integer DEFAULT 1000)
RETURNS TABLE (id text, kind text, key text, args bytea, attempt integer, max_attempts integer, allowance integer,
               lease uuid, enqueued_at timestamptz, claimed_at timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
    at     timestamptz := clock_timestamp();   -- real time, for the lease and the deadline
    moment timestamptz := bursar.now();
    token  uuid;
    picked text[];
    candidate record;
    claims integer := 0;
BEGIN
    PERFORM FROM apalis.workers w WHERE w.id = worker AND w.lease_until > at;
    IF NOT FOUND THEN RETURN; END IF;
    FOR i IN 1 .. cardinality(kinds) LOOP
        EXIT WHEN claims >= most;
        CONTINUE WHEN limits[i] < 1 OR EXISTS (SELECT FROM bursar.paused_kind p WHERE p.kind = kinds[i]);
        picked := '{}';
        FOR candidate IN
            SELECT j.id, j.alone FROM apalis.jobs j
            WHERE j.job_type = kinds[i] AND j.status = 'Pending' AND j.run_at <= moment
            ORDER BY j.run_at, j.id LIMIT limits[i] FOR UPDATE SKIP LOCKED
        LOOP
            IF candidate.alone THEN
                IF picked = '{}' THEN picked := ARRAY[candidate.id]; END IF;
                EXIT;
            END IF;
            picked := picked || candidate.id;
        END LOOP;
        CONTINUE WHEN picked = '{}';
        claims := claims + 1;
        token := gen_random_uuid();
        RETURN QUERY
        UPDATE apalis.jobs j
        SET status = 'Running', attempts = j.attempts + 1, lock_by = worker, lock_at = at, lease = token,
            deadline = at + timeouts_ms[i] * interval '1 millisecond', waits_for = NULL
        WHERE j.id = ANY (picked)
        RETURNING j.id, j.job_type, j.idempotency_key, j.job, j.attempts, j.max_attempts, j.allowance, j.lease, j.enqueued_at, moment;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION bursar.settle(worker text, lease uuid, settlements jsonb) RETURNS SETOF text LANGUAGE sql AS $$
    WITH clock AS MATERIALIZED (SELECT bursar.now() AS moment, bursar.ahead() AS ahead), said AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(settlements)
            AS s (id text, attempt integer, outcome text, delay_ms bigint, reason text, errors jsonb, waits_for text)
    ), settled AS (
        UPDATE apalis.jobs j
        SET status = CASE WHEN s.outcome IN ('done', 'skip') THEN 'Done'
                          WHEN s.outcome = 'dead' OR s.outcome = 'retry' AND j.attempts >= j.max_attempts THEN 'Failed'
                          WHEN s.outcome IN ('snooze', 'retry') THEN 'Pending' END,   -- else NULL: refused by the column
            attempts = CASE WHEN s.outcome = 'snooze' THEN j.attempts - 1 ELSE j.attempts END,
            run_at = CASE WHEN s.outcome = 'snooze' AND bursar.is_known(s.waits_for) THEN c.moment
                          WHEN s.outcome IN ('snooze', 'retry') THEN c.moment + s.delay_ms * interval '1 millisecond' ELSE j.run_at END,
            done_at = CASE WHEN s.outcome IN ('snooze', 'retry') AND NOT (s.outcome = 'retry' AND j.attempts >= j.max_attempts)
                           THEN NULL ELSE c.moment END,
            reason = CASE WHEN s.outcome = 'retry' AND j.attempts >= j.max_attempts
                          THEN 'gave up after ' || j.attempts || ' attempts: ' || coalesce(s.reason, '') ELSE s.reason END,
            last_result = CASE WHEN s.errors IS NULL THEN NULL ELSE jsonb_build_object('Err', s.errors ->> 0) END,
            waits_for = s.waits_for,
            alone = s.outcome = 'retry' AND j.alone,
            lease = NULL, deadline = NULL
        FROM said s, clock c
        WHERE j.id = s.id AND j.status = 'Running' AND j.lease = settle.lease AND j.attempts = s.attempt
          AND EXISTS (SELECT FROM apalis.workers w WHERE w.id = worker AND w.lease_until > clock_timestamp())
        RETURNING j.id, s.attempt, j.lock_at, s.outcome, j.reason, s.errors
    )
    INSERT INTO bursar.attempt (job_id, attempt, worker, started_at, ended_at, outcome, reason, errors)
    SELECT s.id, s.attempt, worker, s.lock_at + c.ahead, c.moment, s.outcome, s.reason, s.errors FROM settled s, clock c
    RETURNING job_id
$$;

CREATE OR REPLACE FUNCTION bursar.sweep(most integer) RETURNS TABLE (id text, kind text, state text, reason text) LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM apalis.workers w WHERE w.lease_until < clock_timestamp() RETURNING w.id
    ), lost AS MATERIALIZED (
        SELECT j.id, j.lock_by,
               CASE WHEN w.id IS NULL OR w.id IN (SELECT gone.id FROM gone) THEN 'its worker stopped renewing its lease' ELSE 'it ran past its time limit' END AS reason
        FROM apalis.jobs j LEFT JOIN apalis.workers w ON w.id = j.lock_by
        WHERE j.status = 'Running' AND (w.id IS NULL OR w.lease_until < clock_timestamp() OR j.deadline < clock_timestamp())
        ORDER BY j.id LIMIT most FOR UPDATE OF j SKIP LOCKED
    ), taken AS (
        UPDATE apalis.jobs j
        SET status = CASE WHEN j.attempts >= j.max_attempts THEN 'Failed' ELSE 'Pending' END,
            run_at = bursar.now() + random() * least(2 ^ greatest(j.attempts - (j.max_attempts - j.allowance) - 1, 0), 300) * interval '1 second',
            done_at = CASE WHEN j.attempts >= j.max_attempts THEN bursar.now() END,
            reason = CASE WHEN j.attempts >= j.max_attempts THEN 'gave up after ' || j.attempts || ' attempts: ' || l.reason ELSE l.reason END,
            last_result = jsonb_build_object('Err', l.reason),
            alone = true, lease = NULL, deadline = NULL
        FROM lost l WHERE j.id = l.id
        RETURNING j.id, j.job_type, j.attempts, l.lock_by, j.lock_at, j.status, j.reason, l.reason AS why
    ), noted AS (
        INSERT INTO bursar.attempt (job_id, attempt, worker, started_at, ended_at, outcome, reason, errors)
        SELECT t.id, t.attempts, t.lock_by, t.lock_at + bursar.ahead(), bursar.now(), 'lost', t.reason, jsonb_build_array(t.why) FROM taken t
    )
    SELECT t.id, t.job_type, CASE t.status WHEN 'Failed' THEN 'dead' ELSE 'ready' END, t.reason FROM taken t
$$;

CREATE OR REPLACE FUNCTION bursar.receive(source text, id text, type text, created timestamptz, livemode boolean, api_version text,
                               account text, object_id text, body bytea, kind text, max_attempts integer)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    job   jsonb;
    known bytea;
BEGIN
    INSERT INTO bursar.event VALUES (receive.source, receive.id, receive.type, receive.created, receive.livemode,
        receive.api_version, receive.account, receive.object_id, bursar.now(), receive.body)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        IF receive.source = 'verification' THEN
            SELECT e.body INTO known FROM bursar.event e WHERE e.id = receive.id AND e.source = receive.source;
            IF known <> receive.body THEN RETURN 'conflict'; END IF;
        END IF;
        RETURN 'duplicate';
    END IF;
    job := jsonb_build_object('kind', receive.kind, 'key', receive.id, 'max_attempts', receive.max_attempts, 'cause', receive.id,
        'args', jsonb_build_object('source', receive.source, 'event', receive.id));
    IF (SELECT q.already FROM bursar.enqueue(jsonb_build_array(job)) q) THEN
        -- The other source has sent this id, and of the same kind: two events, two jobs.
        PERFORM bursar.enqueue(jsonb_build_array(job || jsonb_build_object('key', receive.source || ':' || receive.id)));
    END IF;
    RETURN 'new';
END $$;

CREATE OR REPLACE VIEW bursar.job AS
SELECT j.id, j.job_type AS kind, j.idempotency_key AS key,
       CASE j.status WHEN 'Pending' THEN CASE WHEN j.run_at <= bursar.now() THEN 'ready' ELSE 'scheduled' END
                     WHEN 'Running' THEN 'running' WHEN 'Done' THEN 'done' WHEN 'Failed' THEN 'dead' WHEN 'Killed' THEN 'cancelled'
                     ELSE lower(j.status) END AS state,
       j.attempts AS attempt, j.max_attempts, j.run_at, j.last_result ->> 'Err' AS last_error, j.reason, j.cause, j.waits_for,
       CASE WHEN j.status = 'Running' THEN j.lock_by END AS worker, j.enqueued_at, j.done_at, j.job AS args, j.alone
FROM apalis.jobs j;

CREATE OR REPLACE FUNCTION bursar.prune(most integer) RETURNS bigint LANGUAGE sql AS $$
    WITH jobs AS (
        DELETE FROM apalis.jobs WHERE id IN (
            SELECT j.id FROM apalis.jobs j WHERE j.status = 'Done' AND j.done_at < (SELECT bursar.now()) - interval '30 days'
            ORDER BY j.done_at LIMIT most FOR UPDATE SKIP LOCKED)
        RETURNING id
    ), attempts AS (
        DELETE FROM bursar.attempt a USING jobs WHERE a.job_id = jobs.id
    ), bodies AS (
        UPDATE bursar.event SET body = NULL WHERE (id, source) IN (
            SELECT e.id, e.source FROM bursar.event e
            -- The body of an event whose job still waits, for a worker or for an operator, is needed.
            WHERE e.body IS NOT NULL AND e.received_at < (SELECT bursar.now()) - interval '90 days'
              AND NOT EXISTS (SELECT FROM apalis.jobs j WHERE j.cause = e.id AND j.status <> 'Done')
            ORDER BY e.received_at LIMIT most FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM bodies)
$$;
