-- Dunning: one case for each invoice of a renewal whose payment failed, and what is done about it, step by step. The steps' jobs go when
-- they are old; these rows stay, so that a step is one for ever.

CREATE TABLE bursar.dunning_case (
    invoice_id      text PRIMARY KEY,                     -- in_...
    subscription_id text NOT NULL,
    customer_id     text,
    user_id         text NOT NULL,
    state           text NOT NULL DEFAULT 'open' CONSTRAINT dunning_case_state_known
                    CHECK (state IN ('open', 'paused', 'cancelled', 'exhausted', 'paid', 'void', 'uncollectible', 'ended', 'stopped')),
    reason          text,                                 -- why it is in that state, in words
    failed_at       timestamptz NOT NULL,                 -- the first failure, by the event's word: every step counts from here
    amount          bigint NOT NULL,                      -- what was owed when it was opened, in the currency's minor unit
    currency        text NOT NULL,
    schedule        jsonb NOT NULL,                       -- as it was configured when it was opened
    promised_until  timestamptz,                          -- the latest deadline that a letter named: the final step never acts before
    card_asked_at   timestamptz,                          -- when a card was asked for: once
    event_id        text,
    opened_at       timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at      timestamptz NOT NULL DEFAULT bursar.now()
);
CREATE INDEX dunning_case_by_subscription ON bursar.dunning_case (subscription_id);
CREATE INDEX dunning_case_open ON bursar.dunning_case (opened_at) WHERE state = 'open';

CREATE TABLE bursar.dunning_step (
    invoice_id text NOT NULL REFERENCES bursar.dunning_case,
    step       text NOT NULL,                             -- letter:0, retry:3, final:7, resume
    day        integer NOT NULL,                          -- days after the first failure
    due_at     timestamptz NOT NULL,
    state      text NOT NULL DEFAULT 'planned' CONSTRAINT dunning_step_state_known
               -- running: its call is enqueued. sending: its request may have left. unknown: what came of it is not known.
               CHECK (state IN ('planned', 'running', 'sending', 'unknown', 'done', 'skipped')),
    outcome    text,                                      -- what came of it, in words
    changed_at timestamptz NOT NULL DEFAULT bursar.now(),
    PRIMARY KEY (invoice_id, step)
);
