-- What Stripe says of subscriptions, and what their grants stand on: two things, kept apart. The first is whatever Stripe answered
-- last; the second only ever grows, and every posting of a refill or a plan change can be recomputed from it.

-- A subscription as Stripe has it now. Written by one job, sync_subscription, from an answer of Stripe's: never from an event's snapshot.
CREATE TABLE bursar.subscription (
    id                   text PRIMARY KEY,               -- sub_...
    user_id              text NOT NULL,
    customer_id          text,
    status               text NOT NULL,                  -- Stripe's word
    price                text,                           -- of the item that sells the tier, or of the first
    tier                 text,                           -- null: its price sells none
    quantity             bigint NOT NULL,
    interval             text,                           -- day | week | month | year, of the price
    interval_count       integer,
    plan_value           bigint NOT NULL,                -- what a month of it grants, in millionths of a credit
    period_start         timestamptz,
    period_end           timestamptz,
    anchor               timestamptz,                    -- what months are counted from: Jan 31 stays the 31st after a February
    trial_end            timestamptz,
    cancel_at            timestamptz,
    cancel_at_period_end boolean NOT NULL,
    ended_at             timestamptz,
    paused               text,                           -- what becomes of invoices while the collection is paused
    schedule_id          text,
    access_until         timestamptz,                    -- null: none
    -- A renewal is told a little after it happened, and access must not flicker meanwhile: it is over only here.
    lapses_at            timestamptz,
    asked_at             timestamptz NOT NULL,           -- an answer to an earlier question that comes later counts for nothing
    changed_at           timestamptz NOT NULL DEFAULT bursar.now()
);
CREATE INDEX subscription_by_user ON bursar.subscription (user_id);

-- One month of service that was refilled. A month begins at a refill and ends where the next may begin.
CREATE TABLE bursar.service_month (
    subscription_id text NOT NULL,
    start_at        timestamptz NOT NULL,
    end_at          timestamptz NOT NULL,
    user_id         text NOT NULL,
    value           bigint NOT NULL,                     -- what the plan granted for it, in millionths: what plan changes count from
    -- What was left of refills at its start, with its own: what may expire at the next one.
    left_over       bigint NOT NULL,
    extra           bigint NOT NULL DEFAULT 0 CONSTRAINT service_month_extra_never_negative CHECK (extra >= 0), -- by plan changes
    changes         integer NOT NULL DEFAULT 0,          -- postings of plan changes: each has its number in its key
    refill_key      text NOT NULL,                       -- the posting that refilled it
    PRIMARY KEY (subscription_id, start_at),
    CONSTRAINT service_month_goes_on CHECK (end_at > start_at)
);

-- Each change of plan that a signed event told of. Kept for ever, so that the grants can be computed again; twins of one event are one.
CREATE TABLE bursar.plan_change (
    subscription_id text NOT NULL,
    at              timestamptz NOT NULL,
    old_value       bigint NOT NULL,
    new_value       bigint NOT NULL,
    event_id        text,                                -- null: seen by looking, without an event
    PRIMARY KEY (subscription_id, at, old_value, new_value)
);

-- The mail address of a customer as Stripe has it, and when it was asked; null: as an event said it.
ALTER TABLE bursar.customer ADD COLUMN IF NOT EXISTS email text, ADD COLUMN IF NOT EXISTS email_asked_at timestamptz;

-- How often each type of event came, with those that nothing follows from.
CREATE VIEW bursar.event_counts AS
SELECT e.source, e.type, count(*) AS events, max(e.received_at) AS last_received_at FROM bursar.event e GROUP BY e.source, e.type;
