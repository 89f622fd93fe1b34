-- A comparison of one month at Stripe with the books: where it stands, what it has seen, what it found. It goes on a page a job, so that
-- whatever crashes it goes on from the last page that was compared, and nothing is held in memory.
CREATE TABLE bursar.reconciliation (
    id         text PRIMARY KEY,                     -- 2026-10.1: the month, and which comparison of it
    month      date NOT NULL CONSTRAINT reconciliation_month_begins CHECK (extract(day FROM month) = 1),
    asked_by   text NOT NULL,                        -- an operator's name, or 'schedule'
    repair_by  text,                                 -- who wants what it finds repaired; null: nobody
    state      text NOT NULL DEFAULT 'running' CONSTRAINT reconciliation_state_known CHECK (state IN ('running', 'done', 'stopped')),
    phase      text NOT NULL DEFAULT 'invoices',     -- what is compared now, for people
    objects    bigint NOT NULL DEFAULT 0,            -- compared so far
    reason     text,                                 -- why it stopped
    begun_at   timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at timestamptz NOT NULL DEFAULT bursar.now(),
    ended_at   timestamptz
);
CREATE UNIQUE INDEX reconciliation_running ON bursar.reconciliation (month) WHERE state = 'running';

-- What a running comparison has seen paid at Stripe: an invoice, a session, a Transfer. Forgotten when it ends.
CREATE TABLE bursar.reconciled (
    run text NOT NULL,
    id  text NOT NULL,
    PRIMARY KEY (run, id)
);

-- The page that is compared next: one for each running comparison.
CREATE TABLE bursar.reconcile_page (
    run     text PRIMARY KEY,
    step    bigint NOT NULL,
    entries jsonb NOT NULL
);

-- Something that is not the same at Stripe and in the books.
CREATE TABLE bursar.finding (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run        text NOT NULL REFERENCES bursar.reconciliation (id),
    type       text NOT NULL CONSTRAINT finding_type_known CHECK (type IN ('missing_grant', 'wrong_amount', 'grant_without_payment',
                   'unknown_transfer', 'payout_without_transfer', 'transfer_differs', 'refund_not_clawed', 'dispute_not_taken',
                   'reversal_not_booked', 'payout_stuck', 'user_unknown')),
    object     text NOT NULL,                        -- in_..., cs_..., re_..., du_..., tr_..., trr_..., a job's id, posting:123
    user_id    text,
    amount     bigint,                               -- in `unit`: millionths of a credit, or minor units
    unit       text,
    evidence   jsonb NOT NULL,
    -- open: it waits for a repair or for an operator; repaired: the job that closes it was enqueued; judged: an operator says that it may
    -- stay, and it is counted no more; gone: a later comparison of the month did not find it.
    state      text NOT NULL DEFAULT 'open' CONSTRAINT finding_state_known CHECK (state IN ('open', 'repaired', 'judged', 'gone')),
    automatic  boolean NOT NULL,                     -- `bursar reconcile --repair` closes it
    remedy     text NOT NULL,                        -- what closes it, in words or as a command
    closed_by  text,                                 -- the event or the job that did, or who judged and why
    found_at   timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at timestamptz NOT NULL DEFAULT bursar.now(),
    CONSTRAINT finding_once UNIQUE (run, type, object)
);
CREATE INDEX finding_by_object ON bursar.finding (object);

-- The postings of a month, without reading those of all others. They come in the order of time, so that a few pages of index are enough.
CREATE INDEX posting_by_time ON bursar.posting USING brin (posted_at);
-- What is there at Stripe is looked for here by its Transfer.
CREATE INDEX IF NOT EXISTS payout_by_transfer ON bursar.payout (transfer_id) WHERE transfer_id IS NOT NULL;

-- Begins a comparison of a month, or joins the one that runs; `repairs` says who wants repairs, if anyone. Its first job is the caller's to
-- enqueue, in the same transaction.
CREATE FUNCTION bursar.begin_reconciliation(which date, who text, repairs text)
RETURNS TABLE (id text, joined boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    running text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('reconcile:' || which, 0));
    UPDATE bursar.reconciliation r SET repair_by = coalesce(r.repair_by, repairs), changed_at = bursar.now()
    WHERE r.month = which AND r.state = 'running' RETURNING r.id INTO running;
    IF running IS NOT NULL THEN
        RETURN QUERY SELECT running, true; RETURN;
    END IF;
    RETURN QUERY
    INSERT INTO bursar.reconciliation AS r (id, month, asked_by, repair_by)
    SELECT to_char(which, 'YYYY-MM') || '.' || 1 + (SELECT count(*) FROM bursar.reconciliation o WHERE o.month = which), which, who, repairs
    RETURNING r.id, false;
END $$;
