-- A month that began before the one before it was over, and for whose rest Stripe gave the money back: a switch from the month to the
-- year, or back. The rest of the earlier one's credits goes back too, or each switch would grant a month for nothing.
ALTER TABLE bursar.service_month ADD COLUMN replaces boolean NOT NULL DEFAULT false;

-- As before, with the user's account inside each half: what is asked of one user reaches the halves, and no query reads every posting.
CREATE OR REPLACE VIEW bursar.credit_transactions AS
SELECT m.id, m.user_id,
       CASE WHEN m.kind IN ('purchase', 'refill', 'admin_grant', 'admin_removal', 'spend', 'reversal', 'expiry') THEN m.kind
            WHEN m.kind = 'initial' THEN 'admin_grant'                      -- what a new user starts with
            WHEN m.reverses IS NOT NULL THEN 'reversal'
            WHEN m.sign < 0 AND m.other = 'breakage' THEN 'expiry'
            WHEN m.sign > 0 THEN 'refill'
            ELSE 'reversal' END AS type,
       trim_scale(m.sign * m.amount * 0.000001) AS amount,
       m.posted_at AS created_at, m.ref AS reference, m.event_id, m.job_id, coalesce(m.why, m.kind) AS description
FROM (SELECT p.id, substr(a.name, 6) AS user_id, o.name AS other, 1 AS sign, p.kind, p.amount, p.posted_at, p.ref, p.event_id, p.job_id, p.reverses, p.why
      FROM bursar.posting p JOIN bursar.account o ON o.id = p.debit
      JOIN bursar.account a ON a.id = p.credit AND a.unit = 'credits' AND a.name LIKE 'user:%'
      UNION ALL
      SELECT p.id, substr(a.name, 6), o.name, -1, p.kind, p.amount, p.posted_at, p.ref, p.event_id, p.job_id, p.reverses, p.why
      FROM bursar.posting p JOIN bursar.account o ON o.id = p.credit
      JOIN bursar.account a ON a.id = p.debit AND a.unit = 'credits' AND a.name LIKE 'user:%') m;
-- One account a user: said by the index, so that the planner knows it and does not read a hundred accounts' worth of postings.
CREATE UNIQUE INDEX account_of_user ON bursar.account (substr(name, 6)) WHERE unit = 'credits' AND name LIKE 'user:%';
DROP INDEX bursar.account_by_user;

-- A key is made of a user and a caller's key, of 255 characters each, and a colon in either takes three: the longest that spend() makes
-- is longer than 800, and a spend must not raise. What an index holds is longer still.
ALTER TABLE bursar.posting DROP CONSTRAINT posting_key_sane,
    ADD CONSTRAINT posting_key_sane CHECK (length(key) BETWEEN 1 AND 1600) NOT VALID;

-- As before, and users who subscribe twice: two checkouts that were open at the same time can both be paid.
CREATE OR REPLACE VIEW bursar.user_flag AS
SELECT d.user_id, 'dispute' AS flag, d.id AS source, d.created_at AS since
FROM bursar.dispute d
WHERE d.user_id IS NOT NULL AND d.status IN ('needs_response', 'under_review', 'lost')
UNION ALL
SELECT s.user_id, 'second_subscription', s.id, s.changed_at
FROM bursar.subscription s
WHERE s.status NOT IN ('canceled', 'incomplete_expired', 'incomplete')
  AND EXISTS (SELECT FROM bursar.subscription o WHERE o.user_id = s.user_id AND o.id <> s.id
              AND o.status NOT IN ('canceled', 'incomplete_expired', 'incomplete'));
