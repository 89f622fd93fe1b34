-- Whose trace a job belongs to: the W3C trace context of the attempt or the request that enqueued it. Null where nobody traced it, and for the
-- job that an event became, whose trace is the event's.
ALTER TABLE apalis.jobs ADD COLUMN traceparent text;

CREATE OR REPLACE FUNCTION bursar.enqueue(jobs jsonb)
RETURNS TABLE (ord bigint, id text, already boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := bursar.now();
BEGIN
    RETURN QUERY
    WITH wanted AS MATERIALIZED (
        SELECT * FROM ROWS FROM (jsonb_to_recordset(jobs)
            AS (kind text, key text, args jsonb, max_attempts integer, delay_ms bigint, cause text, traceparent text))
            WITH ORDINALITY AS w (kind, key, args, max_attempts, delay_ms, cause, traceparent, ord)
    ), made AS (
        INSERT INTO apalis.jobs AS j (id, job_type, idempotency_key, job, status, attempts, max_attempts, allowance, run_at, enqueued_at, cause, traceparent)
        SELECT bursar.new_id(), w.kind, w.key, convert_to(w.args::text, 'UTF8'), 'Pending', 0, w.max_attempts, w.max_attempts,
               moment + coalesce(w.delay_ms, 0) * interval '1 millisecond', moment, w.cause, w.traceparent
        FROM wanted w ORDER BY w.kind, w.key                                -- one order, so that two batches cannot deadlock
        ON CONFLICT (job_type, idempotency_key) DO NOTHING
        RETURNING j.id, j.job_type, j.idempotency_key
    )
    SELECT w.ord, m.id, m.id IS NULL OR row_number() OVER (PARTITION BY w.kind, w.key ORDER BY w.ord) > 1
    FROM wanted w LEFT JOIN made m ON m.job_type = w.kind AND m.idempotency_key = w.key
    ORDER BY w.ord;
    PERFORM bursar.wake();
END $$;
