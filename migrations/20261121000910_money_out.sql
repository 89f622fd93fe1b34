-- What limits payouts, what is taken back of them, and debts of receivers that later payouts settle. All amounts in minor units.
-- The previous version runs beside this: it writes none of these columns, and what it sends, it sends whole.
ALTER TABLE bursar.payout
    -- What its Transfer sends, fixed when it first leaves `held`: null before, 0 where all of it was netted and none is sent.
    ADD COLUMN transfer_amount bigint,
    -- The part of it that settled debts of its receiver instead of being sent.
    ADD COLUMN netted          bigint NOT NULL DEFAULT 0,
    -- What came back of its Transfer, by Stripe's reversals.
    ADD COLUMN returned        bigint NOT NULL DEFAULT 0,
    -- The part of it that is owed no more, for it was reversed. All of it: the payout is `reversed`.
    ADD COLUMN undone          bigint NOT NULL DEFAULT 0,
    -- What of that did not come back, and is the receiver's debt; and what of the debt was netted from later payouts or came back since.
    ADD COLUMN carried         bigint NOT NULL DEFAULT 0,
    ADD COLUMN recovered       bigint NOT NULL DEFAULT 0,
    -- What holds it, where it is held by a limit: nothing but the sum (`minimum`) or an operator (`cap`) lets it go.
    ADD COLUMN held_by         text CONSTRAINT payout_held_by_known CHECK (held_by IN ('minimum', 'cap')),
    ADD COLUMN minimum_met     boolean NOT NULL DEFAULT false,
    ADD COLUMN cap_lifted      boolean NOT NULL DEFAULT false,
    -- The UTC day of business time on which it last left `held`.
    ADD COLUMN sent_on         date,
    ADD CONSTRAINT payout_sends_its_rest CHECK (transfer_amount IS NULL OR (transfer_amount >= 0 AND transfer_amount + netted = amount)),
    ADD CONSTRAINT payout_sums_sane CHECK (netted BETWEEN 0 AND amount AND returned >= 0 AND undone BETWEEN 0 AND amount
                                           AND carried BETWEEN 0 AND undone AND recovered >= 0);

-- Receivers whose accounts are below zero, or who got back too little: few, and looked for before every payout.
CREATE INDEX payout_carrying ON bursar.payout (receiver_id) WHERE carried <> recovered;
-- What left on a day, for the caps.
CREATE INDEX payout_by_day ON bursar.payout (sent_on, currency, receiver_id) INCLUDE (transfer_amount) WHERE sent_on IS NOT NULL;

-- What is taken back of a payout whose Transfer was made: asked for by an operator, or made in Stripe's dashboard.
CREATE TABLE bursar.reversal (
    job_id       text NOT NULL REFERENCES bursar.payout (job_id),
    n            integer NOT NULL CHECK (n >= 1),     -- the n-th of its payout: `reversal:{job_id}:{n}`
    amount       bigint NOT NULL CONSTRAINT reversal_amount_positive CHECK (amount > 0),
    state        text NOT NULL CONSTRAINT reversal_state_known CHECK (state IN ('open', 'unknown', 'made', 'carried', 'refused')),
    reason       text,                               -- why it is in that state, for an operator
    reversal_id  text CONSTRAINT reversal_once UNIQUE, -- trr_...
    actor        text,                               -- who asked for it; null: it was made at Stripe
    why          text,
    releases     integer NOT NULL DEFAULT 0,         -- how often it was let go: each is a job of its own
    asked_at     timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at   timestamptz NOT NULL DEFAULT bursar.now(),
    PRIMARY KEY (job_id, n),
    CONSTRAINT reversal_made_has_its_id CHECK ((state = 'made') = (reversal_id IS NOT NULL))
);
-- An event about a Transfer finds its payout.
CREATE INDEX payout_by_transfer ON bursar.payout (transfer_id) WHERE transfer_id IS NOT NULL;
