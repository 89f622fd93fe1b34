-- Which of our users a Stripe customer is.
CREATE TABLE bursar.customer (
    id        text PRIMARY KEY,                     -- cus_...
    user_id   text NOT NULL,
    event_id  text,                                 -- what told us
    linked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE OR REPLACE FUNCTION bursar.is_known(fact text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT fact LIKE 'customer:%' AND EXISTS (SELECT FROM bursar.customer c WHERE c.id = substr(fact, 10))
$$;

CREATE INDEX customer_by_user ON bursar.customer (user_id);

-- What a receiver is owed for one verified job.
CREATE TABLE bursar.payout (
    job_id      text PRIMARY KEY,                   -- the marketplace's job: one payout each, for ever
    receiver_id text NOT NULL,
    sender_id   text,
    skill       text NOT NULL,
    credits     bigint NOT NULL CHECK (credits > 0),                        -- millionths
    amount      bigint NOT NULL CONSTRAINT payout_amount_positive CHECK (amount > 0), -- minor units
    currency    text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    state       text NOT NULL CONSTRAINT payout_state_known
                CHECK (state IN ('held', 'sending', 'unknown', 'paid', 'rejected', 'skipped', 'reversed')),
    reason      text,                               -- why it is in that state, for an operator
    transfer_id text,
    event_id    text,
    -- By the verification's own word. A debt older than an idempotency key lives is looked for at Stripe before it is first sent:
    -- this database may be a restored one.
    verified_at timestamptz,
    releases    integer NOT NULL DEFAULT 0,         -- how often it was let go: each is a job of its own
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX payout_by_receiver ON bursar.payout (receiver_id);
CREATE INDEX payout_open ON bursar.payout (state, recorded_at) WHERE state NOT IN ('paid', 'reversed');
CREATE INDEX payout_by_record ON bursar.payout (recorded_at);
