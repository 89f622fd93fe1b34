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
