-- What Stripe says of charges that were refunded or disputed: the truth that clawbacks are computed from, as last asked for. A grant that
-- comes after the refund of its own payment finds its charge here.
CREATE TABLE bursar.charge (
    id         text PRIMARY KEY,                     -- ch_...
    amount     bigint NOT NULL CONSTRAINT charge_amount_sane CHECK (amount >= 0), -- minor units
    currency   text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    asked_at   timestamptz NOT NULL,                 -- when Stripe was asked for this: an older answer that comes later counts for nothing
    changed_at timestamptz NOT NULL DEFAULT bursar.now()
);

-- What a charge paid for: a session, an invoice. `total` is all that was charged for it, by this charge and by others.
CREATE TABLE bursar.charge_ref (
    ref    text NOT NULL,                            -- as in bursar.posting.ref
    charge text NOT NULL REFERENCES bursar.charge (id),
    total  bigint NOT NULL CONSTRAINT charge_ref_total_positive CHECK (total > 0), -- minor units
    PRIMARY KEY (ref, charge)
);
CREATE INDEX charge_ref_by_charge ON bursar.charge_ref (charge);

CREATE TABLE bursar.refund (
    id         text PRIMARY KEY,                     -- re_...
    charge     text NOT NULL REFERENCES bursar.charge (id),
    amount     bigint NOT NULL CHECK (amount >= 0),  -- minor units of the charge's currency
    status     text NOT NULL,                        -- pending | requires_action | succeeded | failed | canceled, or one that is new
    created_at timestamptz NOT NULL                  -- by Stripe
);
CREATE INDEX refund_by_charge ON bursar.refund (charge);

CREATE TABLE bursar.dispute (
    id         text PRIMARY KEY,                     -- du_..., dp_...
    charge     text NOT NULL REFERENCES bursar.charge (id),
    amount     bigint NOT NULL,                      -- minor units of `currency`, which may be another than the charge's
    currency   text NOT NULL,
    status     text NOT NULL,                        -- warning_* | needs_response | under_review | won | lost, or one that is new
    reason     text,
    due_by     timestamptz,                          -- until when evidence counts
    created_at timestamptz NOT NULL,                 -- by Stripe
    user_id    text,                                 -- whose purchase it is, once a grant says so
    told       text                                  -- what the team was last told of it: inquiry | opened | won | lost | closed
);
CREATE INDEX dispute_by_charge ON bursar.dispute (charge);
CREATE INDEX dispute_by_user ON bursar.dispute (user_id) WHERE user_id IS NOT NULL;

-- Users that an operator should look at, and why. A dispute flags while it is open and when it is lost; an inquiry does not.
CREATE VIEW bursar.user_flag AS
SELECT d.user_id, 'dispute' AS flag, d.id AS source, d.created_at AS since
FROM bursar.dispute d
WHERE d.user_id IS NOT NULL AND d.status IN ('needs_response', 'under_review', 'lost');

-- The charges that already came back of what these are grants for. It holds each of them, shared, until the end of the transaction: a clawback
-- holds them alone, so that either it sees the grant, or the grant sees its charge here.
CREATE FUNCTION bursar.charges_back(refs text[]) RETURNS TABLE (ref text, charge text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('ref:' || r, 0)) FROM (SELECT unnest(refs) AS r ORDER BY 1) s;
    RETURN QUERY SELECT c.ref, c.charge FROM bursar.charge_ref c WHERE c.ref = ANY (refs) ORDER BY 1, 2;
END $$;
