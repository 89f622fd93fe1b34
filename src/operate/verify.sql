-- Everything that must hold in the books, recomputed from the postings. One row for each violation; none is good news.
-- Each step reads its tables once; what grows with the books is hashed or sorted by the server, which spills to disk.

-- What each account gained and lost, by the postings alone.
WITH moved AS (
    SELECT m.account, sum(m.delta) AS total
    FROM (SELECT credit AS account, amount::numeric AS delta FROM bursar.posting
          UNION ALL SELECT debit, -amount::numeric FROM bursar.posting) m
    GROUP BY m.account
)

-- 1. A kept balance is the sum of its postings. (A derived account keeps none: its row says so by constraint.)
SELECT 'balance' AS "kind!", a.name AS "subject!",
       pg_catalog.format('keeps %s, its postings come to %s (%s)', a.balance, coalesce(m.total, 0),
              CASE a.unit WHEN 'credits' THEN 'millionths of a credit' ELSE 'minor units of ' || a.unit END) AS "detail!"
FROM bursar.account a LEFT JOIN moved m ON m.account = a.id
WHERE NOT a.derived AND a.balance::numeric <> coalesce(m.total, 0)

-- 2. Both accounts of a posting exist. (No foreign key says so: see the migration.)
UNION ALL
SELECT 'missing_account', 'posting ' || p.id::text, pg_catalog.format('its %s account %s does not exist', side.name, side.account)
FROM bursar.posting p
CROSS JOIN LATERAL (VALUES ('debit', p.debit), ('credit', p.credit)) AS side (name, account)
LEFT JOIN bursar.account a ON a.id = side.account
WHERE a.id IS NULL

-- 3. Both accounts of a posting are in one unit.
UNION ALL
SELECT 'unit', 'posting ' || p.id::text, pg_catalog.format('moves from %s in %s to %s in %s', d.name, d.unit, c.name, c.unit)
FROM bursar.posting p
JOIN bursar.account d ON d.id = p.debit
JOIN bursar.account c ON c.id = p.credit
WHERE d.unit <> c.unit

-- 4. A reversal undoes a posting that exists.
UNION ALL
SELECT 'reversal_of_nothing', 'posting ' || r.id::text, pg_catalog.format('reverses posting %s, which does not exist', r.reverses)
FROM bursar.posting r LEFT JOIN bursar.posting o ON o.id = r.reverses
WHERE r.reverses IS NOT NULL AND o.id IS NULL

-- 5. A reversal goes the other way between the same two accounts.
UNION ALL
SELECT 'reversal_not_mirrored', 'posting ' || r.id::text,
       pg_catalog.format('moves from account %s to %s, and posting %s, which it reverses, from %s to %s', r.debit, r.credit, o.id, o.debit, o.credit)
FROM bursar.posting r JOIN bursar.posting o ON o.id = r.reverses
WHERE (r.debit, r.credit) IS DISTINCT FROM (o.credit, o.debit)

-- 6. No posting is undone by more than it moved. What undid it may have been undone itself, as for a refund that failed.
UNION ALL
SELECT 'reversed_beyond', 'posting ' || o.id::text, pg_catalog.format('moved %s and was reversed by %s', o.amount, r.total)
FROM (SELECT p.reverses, sum(p.amount::numeric - coalesce(u.total, 0)) AS total
      FROM bursar.posting p
      LEFT JOIN (SELECT reverses, sum(amount) AS total FROM bursar.posting WHERE reverses IS NOT NULL GROUP BY reverses) u ON u.reverses = p.id
      WHERE p.reverses IS NOT NULL GROUP BY p.reverses) r
JOIN bursar.posting o ON o.id = r.reverses
WHERE r.total > o.amount::numeric

-- 7. What a receiver is owed stands in the books, whether it is held, was sent, or was skipped because Stripe is off.
UNION ALL
SELECT 'payout_without_posting', 'payout ' || y.job_id, pg_catalog.format('is %s over %s %s and has no posting', y.state, y.amount, y.currency)
FROM bursar.payout y LEFT JOIN bursar.posting p ON p.key = 'payout:' || y.job_id
WHERE p.id IS NULL

-- 8. The posting of a payout has its amount, its currency and its receiver.
UNION ALL
SELECT 'payout_differs', 'payout ' || y.job_id,
       pg_catalog.format('owes %s %s to %s, and posting %s gives %s %s to %s', y.amount, y.currency, y.receiver_id, p.id, p.amount, c.unit, c.name)
FROM bursar.payout y
JOIN bursar.posting p ON p.key = 'payout:' || y.job_id
JOIN bursar.account c ON c.id = p.credit
WHERE (p.amount, c.unit, c.name) IS DISTINCT FROM (y.amount, y.currency, 'receiver:' || y.receiver_id)

-- 9. The posting of a payout has its payout.
UNION ALL
SELECT 'posting_without_payout', 'posting ' || p.id::text, pg_catalog.format('its key is %s, and there is no such payout', p.key)
FROM bursar.posting p LEFT JOIN bursar.payout y ON 'payout:' || y.job_id = p.key
WHERE p.kind = 'payout' AND y.job_id IS NULL

-- 10. A receiver's balance is what is owed and not sent, less the debts that are carried and not settled.
UNION ALL
SELECT 'receiver_balance', a.name,
       pg_catalog.format('keeps %s %s, and its payouts come to %s', a.balance, a.unit, coalesce(o.open, 0) - coalesce(o.debts, 0))
FROM bursar.account a
LEFT JOIN (SELECT 'receiver:' || receiver_id AS name, currency,
                  sum(CASE WHEN state IN ('paid', 'reversed') THEN 0 ELSE amount - netted END) AS open,
                  sum(carried - recovered) AS debts
           FROM bursar.payout GROUP BY 1, 2) o ON o.name = a.name AND o.currency = a.unit
WHERE a.name LIKE 'receiver:%' AND a.balance::numeric <> coalesce(o.open, 0) - coalesce(o.debts, 0)

-- 11. A payout that is paid has the posting of its Transfer, over what that sent; one that was netted whole has none, and nothing else has one.
UNION ALL
SELECT 'transfer_differs', 'payout ' || y.job_id,
       pg_catalog.format('is %s and sends %s %s, and its Transfer is posted with %s', y.state, y.amount - y.netted, y.currency, coalesce(p.amount::text, 'nothing'))
FROM bursar.payout y LEFT JOIN bursar.posting p ON p.key = 'transfer:' || y.job_id
WHERE CASE WHEN y.state = 'paid' OR y.transfer_id IS NOT NULL THEN nullif(y.amount - y.netted, 0) END IS DISTINCT FROM p.amount

-- 12. What came back of a Transfer, and what is undone of a payout, is what the reversals of its postings come to.
UNION ALL
SELECT 'reversals_differ', 'payout ' || y.job_id,
       pg_catalog.format('says that %s came back and %s is undone, and its postings say %s and %s',
              y.returned, y.undone, coalesce(t.total, 0), coalesce(u.total, 0))
FROM bursar.payout y
LEFT JOIN (SELECT o.key, sum(p.amount) AS total FROM bursar.posting p JOIN bursar.posting o ON o.id = p.reverses
           WHERE o.kind = 'transfer' GROUP BY o.key) t ON t.key = 'transfer:' || y.job_id
LEFT JOIN (SELECT o.key, sum(p.amount) AS total FROM bursar.posting p JOIN bursar.posting o ON o.id = p.reverses
           WHERE o.kind = 'payout' GROUP BY o.key) u ON u.key = 'payout:' || y.job_id
WHERE y.returned::numeric <> coalesce(t.total, 0) OR y.undone::numeric <> coalesce(u.total, 0)

-- 13. A payout is reversed when all of it is undone, and only then.
UNION ALL
SELECT 'reversed_in_part', 'payout ' || y.job_id, pg_catalog.format('is %s, and %s of %s is undone', y.state, y.undone, y.amount)
FROM bursar.payout y
WHERE (y.state = 'reversed') <> (y.undone = y.amount) OR (y.undone > 0 AND y.state NOT IN ('paid', 'reversed'))

-- 14. What is netted of payouts, and what that settled, is what was posted; and it all went through.
UNION ALL
SELECT 'netting_differs', 'payout ' || y.job_id, pg_catalog.format('nets %s, and its postings come to %s', y.netted, coalesce(n.total, 0))
FROM bursar.payout y
LEFT JOIN (SELECT p.ref, sum(p.amount) AS total FROM bursar.posting p JOIN bursar.account c ON c.id = p.credit
           WHERE p.kind = 'netting' AND c.name = 'netting' GROUP BY p.ref) n ON n.ref = y.job_id
WHERE y.netted::numeric <> coalesce(n.total, 0)
UNION ALL
SELECT 'netting_open', 'netting ' || a.unit, pg_catalog.format('%s went in and did not come out', m.total)
FROM bursar.account a JOIN moved m ON m.account = a.id
WHERE a.name = 'netting' AND m.total <> 0.0

-- 15. A reversal that was made is posted, over its amount.
UNION ALL
SELECT 'reversal_not_posted', 'payout ' || v.job_id, pg_catalog.format('%s took back %s, and is posted with %s', v.reversal_id, v.amount, coalesce(p.amount::text, 'nothing'))
FROM bursar.reversal v LEFT JOIN bursar.posting p ON p.key = 'transfer_reversal:' || v.reversal_id
WHERE v.state = 'made' AND p.amount IS DISTINCT FROM v.amount

ORDER BY 1, 2
