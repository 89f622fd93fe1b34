-- A checkout that is over without a payment: a debit that was refused afterwards, or one that could not begin. `reason` says why.
ALTER TABLE bursar.checkout DROP CONSTRAINT checkout_state_known;
ALTER TABLE bursar.checkout ADD CONSTRAINT checkout_state_known
    CHECK (state IN ('asked', 'open', 'complete', 'expired', 'refused', 'failed')) NOT VALID;
ALTER TABLE bursar.checkout VALIDATE CONSTRAINT checkout_state_known;

-- Subscriptions whose first payment never came and may still come. Each makes way where its user begins another checkout: its first
-- invoice is made void, so that there are never two. One began while its first payment was under way, and that payment failed.
CREATE VIEW bursar.unpaid_subscription AS
SELECT s.id, s.user_id
FROM bursar.subscription s
WHERE s.status = 'incomplete'
   OR s.status IN ('past_due', 'unpaid')
      AND EXISTS (SELECT FROM bursar.checkout c WHERE c.user_id = s.user_id AND c.subscription_id = s.id AND c.state = 'failed')
      AND NOT EXISTS (SELECT FROM bursar.service_month m WHERE m.subscription_id = s.id);
