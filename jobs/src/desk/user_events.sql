-- The ids of a user's events, by indexes alone.
WITH account AS MATERIALIZED (
    SELECT a.id FROM bursar.account a WHERE a.name IN ('user:' || $1, 'receiver:' || $1)
), posting AS MATERIALIZED (
    SELECT p.event_id, p.ref FROM account a JOIN bursar.posting p ON p.credit = a.id
    UNION SELECT p.event_id, p.ref FROM account a JOIN bursar.posting p ON p.debit = a.id
), object (id) AS MATERIALIZED (
    -- What is known to be theirs; of a new user, the user.
    SELECT $1
    UNION SELECT p.ref FROM posting p
    UNION SELECT c.id FROM bursar.customer c WHERE c.user_id = $1
    UNION SELECT s.id FROM bursar.subscription s WHERE s.user_id = $1
    UNION SELECT k.session_id FROM bursar.checkout k WHERE k.user_id = $1
    UNION SELECT d.id FROM bursar.dispute d WHERE d.user_id = $1
    UNION SELECT r.account_id FROM bursar.receiver r WHERE r.user_id = $1
    UNION SELECT n.invoice_id FROM bursar.subscription s JOIN bursar.dunning_case n ON n.subscription_id = s.id WHERE s.user_id = $1
)
SELECT x.id AS "id!" FROM (
    SELECT p.event_id AS id FROM posting p
    UNION SELECT o.event_id FROM bursar.payout o WHERE o.receiver_id = $1
    UNION SELECT o.event_id FROM bursar.payout o WHERE o.sender_id = $1
    UNION SELECT c.event_id FROM bursar.customer c WHERE c.user_id = $1
    UNION SELECT e.id FROM object o JOIN bursar.event e ON e.object_id = o.id
) x WHERE x.id IS NOT NULL
