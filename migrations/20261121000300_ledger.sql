-- The ledger. A posting moves an amount from one account to another and is never changed.
-- Units: 'credits' in millionths of a credit; money in the minor unit of its currency ('usd', 'jpy', ...).

CREATE TABLE bursar.account (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text NOT NULL CONSTRAINT account_name_sane CHECK (length(name) BETWEEN 1 AND 300),
    unit      text NOT NULL CONSTRAINT account_unit_known CHECK (unit = 'credits' OR unit ~ '^[a-z]{3}$'),
    -- A system account (issuance, usage, breakage, payable) stands against every grant. Its balance is derived from the
    -- postings when asked for, and its row is never locked: thousands of grants must not queue on it.
    derived   boolean NOT NULL,
    balance   bigint NOT NULL DEFAULT 0,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT account_once UNIQUE (name, unit),
    CONSTRAINT account_derived_keeps_none CHECK (NOT derived OR balance = 0)
);
ALTER TABLE bursar.account SET (fillfactor = 80);

CREATE TABLE bursar.posting (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key       text NOT NULL CONSTRAINT posting_key_sane CHECK (length(key) BETWEEN 1 AND 800),
    kind      text NOT NULL,
    -- No foreign keys: they would take a share lock on the system account's row for every grant. Accounts are never deleted,
    -- post() and spend() are the only writers, and `bursar ledger verify` checks.
    debit     bigint NOT NULL,
    credit    bigint NOT NULL,
    amount    bigint NOT NULL CONSTRAINT posting_amount_positive CHECK (amount > 0),
    event_id  text,                                 -- the event that caused it
    job_id    text,                                 -- the job that posted it
    reverses  bigint,                               -- the posting that this one undoes, in whole or in part
    ref       text,                                 -- what it was for: a verified job's id, a session, a refund
    actor     text,                                 -- who, where a person did it
    why       text,
    posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT posting_key_once UNIQUE (key),
    CONSTRAINT posting_moves CHECK (debit <> credit)
);
CREATE INDEX posting_by_debit ON bursar.posting (debit, id);
CREATE INDEX posting_by_credit ON bursar.posting (credit, id);
CREATE INDEX posting_by_event ON bursar.posting (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX posting_by_reversed ON bursar.posting (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX posting_by_ref ON bursar.posting (ref) WHERE ref IS NOT NULL;

CREATE FUNCTION bursar.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'postings are never changed: undo one by a reversal' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER posting_is_immutable BEFORE UPDATE OR DELETE ON bursar.posting
    FOR EACH ROW EXECUTE FUNCTION bursar.refuse_change();
CREATE TRIGGER posting_is_kept BEFORE TRUNCATE ON bursar.posting
    FOR EACH STATEMENT EXECUTE FUNCTION bursar.refuse_change();

-- Posts a batch in the caller's transaction. `postings` is an array of
-- {key, kind, debit, credit, unit, amount, event_id, job_id, reverses, ref, actor, why}, accounts by name.
-- For each, in order: 'posted'; 'already', when the key stands with the same content; 'conflict', when it stands with other.
-- Balances may go negative here: a grant or a reversal is a fact. What may not is a spend, and spend() refuses it.
CREATE FUNCTION bursar.post(postings jsonb) RETURNS TABLE (ord bigint, id bigint, result text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    made bigint[];
BEGIN
    -- Open what is missing, in one order.
    INSERT INTO bursar.account (name, unit, derived)
    SELECT n.name, n.unit, split_part(n.name, ':', 1) NOT IN ('user', 'receiver')
    FROM (SELECT x.debit AS name, x.unit FROM jsonb_to_recordset(postings) AS x (debit text, unit text)
          UNION SELECT x.credit, x.unit FROM jsonb_to_recordset(postings) AS x (credit text, unit text)) n
    WHERE NOT EXISTS (SELECT FROM bursar.account a WHERE a.name = n.name AND a.unit = n.unit)
    ORDER BY n.name, n.unit
    ON CONFLICT DO NOTHING;

    -- Lock the accounts whose balance is kept, by id, whatever order the batch came in.
    PERFORM FROM bursar.account a
    WHERE NOT a.derived AND a.id IN (
        SELECT b.id FROM jsonb_to_recordset(postings) AS x (debit text, credit text, unit text)
        JOIN bursar.account b ON b.unit = x.unit AND b.name IN (x.debit, x.credit))
    ORDER BY a.id FOR NO KEY UPDATE;

    WITH wanted AS MATERIALIZED (
        SELECT w.*, d.id AS debit_id, c.id AS credit_id
        FROM ROWS FROM (jsonb_to_recordset(postings) AS (key text, kind text, debit text, credit text, unit text, amount bigint,
                event_id text, job_id text, reverses bigint, ref text, actor text, why text))
            WITH ORDINALITY AS w (key, kind, debit, credit, unit, amount, event_id, job_id, reverses, ref, actor, why, ord)
        JOIN bursar.account d ON d.name = w.debit AND d.unit = w.unit
        JOIN bursar.account c ON c.name = w.credit AND c.unit = w.unit
    ), new AS (
        INSERT INTO bursar.posting AS p (key, kind, debit, credit, amount, event_id, job_id, reverses, ref, actor, why)
        SELECT w.key, w.kind, w.debit_id, w.credit_id, w.amount, w.event_id, w.job_id, w.reverses, w.ref, w.actor, w.why
        FROM wanted w ORDER BY w.key, w.ord            -- accounts before keys, and both in one order: no cycle of waits
        ON CONFLICT ON CONSTRAINT posting_key_once DO NOTHING
        RETURNING p.id, p.debit, p.credit, p.amount
    ), moved AS (
        UPDATE bursar.account a SET balance = a.balance + m.delta
        FROM (SELECT s.account, sum(s.delta)::bigint AS delta
              FROM (SELECT n.credit AS account, n.amount AS delta FROM new n UNION ALL SELECT n.debit, -n.amount FROM new n) s
              GROUP BY s.account) m
        WHERE a.id = m.account AND NOT a.derived
    )
    SELECT coalesce(array_agg(n.id), '{}') INTO made FROM new n;

    -- A statement of its own, for a fresh snapshot: it sees a key that another transaction committed while we waited for it.
    RETURN QUERY
    SELECT w.ord, p.id,
           CASE WHEN (p.kind, d.name, d.unit, c.name, p.amount) IS DISTINCT FROM (w.kind, w.debit, w.unit, w.credit, w.amount)
                  OR p.reverses IS DISTINCT FROM w.reverses THEN 'conflict'
                WHEN p.id = ANY (made) AND row_number() OVER (PARTITION BY w.key ORDER BY w.ord) = 1 THEN 'posted'
                ELSE 'already' END
    FROM ROWS FROM (jsonb_to_recordset(postings) AS (key text, kind text, debit text, credit text, unit text, amount bigint, reverses bigint))
        WITH ORDINALITY AS w (key, kind, debit, credit, unit, amount, reverses, ord)
    JOIN bursar.posting p ON p.key = w.key
    JOIN bursar.account d ON d.id = p.debit
    JOIN bursar.account c ON c.id = p.credit
    ORDER BY w.ord;
END $$;

-- Takes credits from a user inside the caller's transaction. It never raises, so that the transaction lives:
-- 'done' (also when this key was spent before: once), 'short', 'conflict' (the key stands for another amount), 'invalid'.
CREATE FUNCTION bursar.spend(user_id text, credits numeric, key text, ref text DEFAULT NULL, why text DEFAULT NULL)
RETURNS TABLE (status text, posting_id bigint, balance numeric) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    micros  bigint;
    -- A colon within a user id is escaped: user 'a:b' with key 'c' is not user 'a' with key 'b:c'.
    unique_key text := 'spend:' || replace(replace(spend.user_id, '%', '%25'), ':', '%3A') || ':' || spend.key;
    payer   bursar.account;
    sink    bigint;
    known   bursar.posting;
BEGIN
    IF spend.user_id IS NULL OR length(spend.user_id) NOT BETWEEN 1 AND 255 OR spend.key IS NULL OR length(spend.key) NOT BETWEEN 1 AND 255
       OR spend.credits IS NULL OR spend.credits <= 0 OR spend.credits > 9000000000000
       OR spend.credits * 1000000 <> trunc(spend.credits * 1000000) THEN
        RETURN QUERY SELECT 'invalid', NULL::bigint, NULL::numeric; RETURN;
    END IF;
    micros := spend.credits * 1000000;
    SELECT a.id INTO sink FROM bursar.account a WHERE a.name = 'usage' AND a.unit = 'credits';
    SELECT a.* INTO payer FROM bursar.account a WHERE a.name = 'user:' || spend.user_id AND a.unit = 'credits' FOR NO KEY UPDATE;
    SELECT p.* INTO known FROM bursar.posting p WHERE p.key = unique_key;
    IF known.id IS NOT NULL THEN
        RETURN QUERY SELECT CASE WHEN known.debit = payer.id AND known.amount = micros AND known.ref IS NOT DISTINCT FROM spend.ref THEN 'done' ELSE 'conflict' END,
                            known.id, trim_scale(payer.balance * 0.000001);
        RETURN;
    END IF;
    IF payer.id IS NULL OR payer.balance < micros THEN
        RETURN QUERY SELECT 'short', NULL::bigint, trim_scale(coalesce(payer.balance, 0) * 0.000001); RETURN;
    END IF;
    INSERT INTO bursar.posting AS p (key, kind, debit, credit, amount, ref, why)
    VALUES (unique_key, 'spend', payer.id, sink, micros, spend.ref, spend.why) RETURNING p.* INTO known;
    UPDATE bursar.account a SET balance = a.balance - micros WHERE a.id = payer.id;
    RETURN QUERY SELECT 'done', known.id, trim_scale((payer.balance - micros) * 0.000001);
END $$;

-- A user's credits, read without a lock. A user never seen has none.
CREATE FUNCTION bursar.balance(user_id text) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT trim_scale(a.balance * 0.000001) FROM bursar.account a
                     WHERE a.name = 'user:' || balance.user_id AND a.unit = 'credits'), 0)
$$;

-- The system accounts exist from the start, so that no posting waits for another to open one.
INSERT INTO bursar.account (name, unit, derived)
VALUES ('issuance', 'credits', true), ('usage', 'credits', true), ('breakage', 'credits', true), ('payable', 'usd', true);
