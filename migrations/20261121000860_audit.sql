-- What operators did: who, when, what to what, what it was before and after, and why. Written in the transaction of the act itself, so that
-- neither is there without the other; never changed.
CREATE TABLE bursar.audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),   -- real time: an operator's clock cannot be moved
    who     text NOT NULL CONSTRAINT audit_who_sane CHECK (length(who) BETWEEN 1 AND 255),
    via     text NOT NULL CONSTRAINT audit_via_known CHECK (via IN ('cli', 'console', 'api', 'schedule')),
    what    text NOT NULL,                                    -- the command's own words: payouts.release
    subject text NOT NULL,                                    -- what it was done to: a job's id, a user, an invoice
    before  jsonb,
    after   jsonb,
    why     text
);
CREATE INDEX audit_by_subject ON bursar.audit (subject, id);

CREATE FUNCTION bursar.audit_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what operators did is never changed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_stands BEFORE UPDATE OR DELETE OR TRUNCATE ON bursar.audit
    FOR EACH STATEMENT EXECUTE FUNCTION bursar.audit_stands();
