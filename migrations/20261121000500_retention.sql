-- Forgets in small batches: done jobs with their attempts after 30 days, event bodies after 90. Dead and cancelled jobs wait
-- for an operator for ever; event ids stay, so that nothing is taken for new again; the ledger is never pruned.
CREATE INDEX event_with_body ON bursar.event (received_at) WHERE body IS NOT NULL;

CREATE FUNCTION bursar.prune(most integer) RETURNS bigint LANGUAGE sql AS $$
    WITH jobs AS (
        DELETE FROM apalis.jobs WHERE id IN (
            SELECT j.id FROM apalis.jobs j WHERE j.status = 'Done' AND j.done_at < now() - interval '30 days'
            ORDER BY j.done_at LIMIT most FOR UPDATE SKIP LOCKED)
        RETURNING id
    ), attempts AS (
        DELETE FROM bursar.attempt a USING jobs WHERE a.job_id = jobs.id
    ), bodies AS (
        UPDATE bursar.event SET body = NULL WHERE (id, source) IN (
            SELECT e.id, e.source FROM bursar.event e
            -- The body of an event whose job still waits, for a worker or for an operator, is needed.
            WHERE e.body IS NOT NULL AND e.received_at < now() - interval '90 days'
              AND NOT EXISTS (SELECT FROM apalis.jobs j WHERE j.cause = e.id AND j.status <> 'Done')
            ORDER BY e.received_at LIMIT most FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM bodies)
$$;

-- What an event caused, and what it still needs.
CREATE INDEX jobs_by_cause ON apalis.jobs (cause) WHERE cause IS NOT NULL;
