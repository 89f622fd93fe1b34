-- What leads to a user's events: the events that the books name, and the objects that are known to be theirs. Of postings the newest ten
-- thousand on each side of their accounts: without that limit the planner takes every account for one that half of all postings are on,
-- and reads them all.
WITH account AS MATERIALIZED (
    SELECT a.id FROM bursar.account a WHERE a.name IN ('user:' || $1, 'receiver:' || $1)
), posting AS MATERIALIZED (
    SELECT p.event_id, p.ref FROM account a
    CROSS JOIN LATERAL (SELECT c.event_id, c.ref FROM bursar.posting c WHERE c.credit = a.id ORDER BY c.id DESC LIMIT 10000) p
    UNION
    SELECT p.event_id, p.ref FROM account a
    CROSS JOIN LATERAL (SELECT d.event_id, d.ref FROM bursar.posting d WHERE d.debit = a.id ORDER BY d.id DESC LIMIT 10000) p
)
SELECT DISTINCT t.is_event AS "is_event!", t.id AS "id!" FROM (
    SELECT true AS is_event, p.event_id AS id FROM posting p
    UNION ALL SELECT true, o.event_id FROM bursar.payout o WHERE o.receiver_id = $1
    UNION ALL SELECT true, o.event_id FROM bursar.payout o WHERE o.sender_id = $1
    UNION ALL SELECT true, c.event_id FROM bursar.customer c WHERE c.user_id = $1
    -- Of a new user, the event is about the user.
    UNION ALL SELECT false, $1
    UNION ALL SELECT false, p.ref FROM posting p
    UNION ALL SELECT false, c.id FROM bursar.customer c WHERE c.user_id = $1
    UNION ALL SELECT false, s.id FROM bursar.subscription s WHERE s.user_id = $1
    UNION ALL SELECT false, k.session_id FROM bursar.checkout k WHERE k.user_id = $1
    UNION ALL SELECT false, d.id FROM bursar.dispute d WHERE d.user_id = $1
    UNION ALL SELECT false, r.account_id FROM bursar.receiver r WHERE r.user_id = $1
    UNION ALL SELECT false, n.invoice_id FROM bursar.subscription s JOIN bursar.dunning_case n ON n.subscription_id = s.id WHERE s.user_id = $1
) t WHERE t.id IS NOT NULL
