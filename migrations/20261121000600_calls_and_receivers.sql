-- The committed decision to make one external call, kept for ever: the bytes, the key they go under, and what became of them.
CREATE TABLE bursar.intent (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject         text NOT NULL,                   -- what it is for: `payout:{job_id}`
    generation      integer NOT NULL CHECK (generation >= 1),
    idempotency_key text NOT NULL CONSTRAINT intent_key_once UNIQUE,
    request         jsonb NOT NULL,                  -- method, path, body: sent again byte for byte
    fingerprint     text NOT NULL,                   -- of the parameters, whatever their order
    state           text NOT NULL DEFAULT 'open' CONSTRAINT intent_state_known
                    CHECK (state IN ('open', 'unknown', 'succeeded', 'rejected')),
    -- Real time from which the key counts as young: the first time it was committed to be sent, or the last look that showed
    -- that nothing had come of it. Null: never to be sent before a look.
    young_since     timestamptz,
    saved_failure   boolean NOT NULL DEFAULT false,  -- Stripe replays a 5xx under this key: sending again tells nothing
    refusals        integer NOT NULL DEFAULT 0,      -- rejections that were not seen to be saved
    looks           integer NOT NULL DEFAULT 0,      -- looks that found nothing, since the last answer
    raise_after_look boolean NOT NULL DEFAULT false, -- an operator's word: one more look, and if nothing is there, the next generation
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT intent_once UNIQUE (subject, generation)
);

-- Each request that was to leave, written before it leaves; the answer is added when there is one.
CREATE TABLE bursar.call (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject     text NOT NULL,
    intent_id   bigint REFERENCES bursar.intent (id), -- null for a question
    job_id      text NOT NULL,
    attempt     integer NOT NULL,
    what        text NOT NULL CONSTRAINT call_what_known CHECK (what IN ('send', 'look', 'ask')),
    begun_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at timestamptz,
    status      integer,
    request_id  text,
    replayed    boolean,
    answer      text                                  -- what it was taken for, and why; not the body
);
CREATE INDEX call_by_subject ON bursar.call (subject, id);

-- Who earns, and the connected account that is paid for them.
CREATE TABLE bursar.receiver (
    user_id    text PRIMARY KEY,
    account_id text CONSTRAINT receiver_account_once UNIQUE,    -- acct_...
    active     boolean NOT NULL DEFAULT false,        -- Stripe says that transfers to it are active
    state      text NOT NULL DEFAULT 'unknown',       -- active | pending | inactive | restricted | deauthorised | unknown, for people
    asked_at   timestamptz,                          -- when Stripe was asked for this: an older answer that comes later counts for nothing
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX payout_held ON bursar.payout (receiver_id) WHERE state = 'held';

INSERT INTO bursar.account (name, unit, derived) VALUES ('stripe', 'usd', true);

-- Whether a key first used then is surely still kept by Stripe, which may forget it after 24 hours; an hour is left for requests under
-- way. A moment that has not come yet, but for a little skew, is nobody's first use: not young.
CREATE FUNCTION bursar.is_young(since timestamptz) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT since BETWEEN clock_timestamp() - interval '23 hours' AND clock_timestamp() + interval '5 minutes'
$$;
