-- Which invoice paid for which change of a plan. A plan change's postings are a subscription's, for they are counted from all its changes
-- together; what comes back of the invoice finds them by this. One row for each moment that proration lines of an invoice begin at.
CREATE TABLE bursar.plan_change_paid (
    subscription_id text NOT NULL,
    at              timestamptz NOT NULL,                -- the moment that the change counts from, by the lines
    invoice         text NOT NULL,
    amount          bigint NOT NULL,                     -- what the lines come to, in minor units; of a downgrade less than nothing
    value           bigint NOT NULL,                     -- what the new plan grants a month by the lines, in millionths
    PRIMARY KEY (subscription_id, at, invoice)
);
CREATE INDEX plan_change_paid_by_invoice ON bursar.plan_change_paid (invoice);

-- A report of use that is older than Stripe surely remembers its identifier is not sent on a guess: this database may be a restored one, and
-- the use be billed. An operator who knows better lets it go, or says that it was sent.
ALTER TABLE bursar.usage_report ADD COLUMN released_at timestamptz;

-- An operator who has looked at a dispute takes its flag from the user; what the dispute comes to next flags again.
ALTER TABLE bursar.dispute ADD COLUMN cleared_at timestamptz;
CREATE OR REPLACE VIEW bursar.user_flag AS
SELECT d.user_id, 'dispute' AS flag, d.id AS source, d.created_at AS since
FROM bursar.dispute d
WHERE d.user_id IS NOT NULL AND d.status IN ('needs_response', 'under_review', 'lost') AND d.cleared_at IS NULL
UNION ALL
SELECT s.user_id, 'second_subscription', s.id, s.changed_at
FROM bursar.subscription s
WHERE s.status NOT IN ('canceled', 'incomplete_expired', 'incomplete')
  AND EXISTS (SELECT FROM bursar.subscription o WHERE o.user_id = s.user_id AND o.id <> s.id
              AND o.status NOT IN ('canceled', 'incomplete_expired', 'incomplete'));

-- 1600 characters may be 6400 bytes, and a row of an index holds 2704: said by name, and not by the index. The longest that spend() makes of
-- a user and a key of 255 characters each is 2047 bytes.
ALTER TABLE bursar.posting ADD CONSTRAINT posting_key_fits_its_index CHECK (octet_length(key) <= 2600) NOT VALID;

-- Pages of the portal that are a month old are forgotten.
CREATE INDEX portal_by_age ON bursar.portal (requested_at);
