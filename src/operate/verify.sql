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
       format('keeps %s, its postings come to %s (%s)', a.balance, coalesce(m.total, 0),
              CASE a.unit WHEN 'credits' THEN 'millionths of a credit' ELSE 'minor units of ' || a.unit END) AS "detail!"
FROM bursar.account a LEFT JOIN moved m ON m.account = a.id
WHERE NOT a.derived AND a.balance <> coalesce(m.total, 0)

-- 2. Both accounts of a posting exist. (No foreign key says so: see the migration.)
UNION ALL
SELECT 'missing_account', 'posting ' || p.id, format('its %s account %s does not exist', side.name, side.account)
FROM bursar.posting p
CROSS JOIN LATERAL (VALUES ('debit', p.debit), ('credit', p.credit)) AS side (name, account)
LEFT JOIN bursar.account a ON a.id = side.account
WHERE a.id IS NULL

-- 3. Both accounts of a posting are in one unit.
UNION ALL
SELECT 'unit', 'posting ' || p.id, format('moves from %s in %s to %s in %s', d.name, d.unit, c.name, c.unit)
FROM bursar.posting p
JOIN bursar.account d ON d.id = p.debit
JOIN bursar.account c ON c.id = p.credit
WHERE d.unit <> c.unit

-- 4. A reversal undoes a posting that exists.
UNION ALL
SELECT 'reversal_of_nothing', 'posting ' || r.id, format('reverses posting %s, which does not exist', r.reverses)
FROM bursar.posting r LEFT JOIN bursar.posting o ON o.id = r.reverses
WHERE r.reverses IS NOT NULL AND o.id IS NULL

-- 5. A reversal goes the other way between the same two accounts.
UNION ALL
SELECT 'reversal_not_mirrored', 'posting ' || r.id,
       format('moves from account %s to %s, and posting %s, which it reverses, from %s to %s', r.debit, r.credit, o.id, o.debit, o.credit)
FROM bursar.posting r JOIN bursar.posting o ON o.id = r.reverses
WHERE (r.debit, r.credit) IS DISTINCT FROM (o.credit, o.debit)

-- 6. No posting is undone by more than it moved. What undid it may have been undone itself, as for a refund that failed.
UNION ALL
SELECT 'reversed_beyond', 'posting ' || o.id, format('moved %s and was reversed by %s', o.amount, r.total)
FROM (SELECT p.reverses, sum(p.amount - coalesce(u.total, 0)) AS total
      FROM bursar.posting p
      LEFT JOIN (SELECT reverses, sum(amount) AS total FROM bursar.posting WHERE reverses IS NOT NULL GROUP BY reverses) u ON u.reverses = p.id
      WHERE p.reverses IS NOT NULL GROUP BY p.reverses) r
JOIN bursar.posting o ON o.id = r.reverses
WHERE r.total > o.amount

-- 7. What a receiver is owed stands in the books, whether it is held, was sent, or was skipped because Stripe is off.
UNION ALL
SELECT 'payout_without_posting', 'payout ' || y.job_id, format('is %s over %s %s and has no posting', y.state, y.amount, y.currency)
FROM bursar.payout y LEFT JOIN bursar.posting p ON p.key = 'payout:' || y.job_id
WHERE p.id IS NULL

-- 8. The posting of a payout has its amount, its currency and its receiver.
UNION ALL
SELECT 'payout_differs', 'payout ' || y.job_id,
       format('owes %s %s to %s, and posting %s gives %s %s to %s', y.amount, y.currency, y.receiver_id, p.id, p.amount, c.unit, c.name)
FROM bursar.payout y
JOIN bursar.posting p ON p.key = 'payout:' || y.job_id
JOIN bursar.account c ON c.id = p.credit
WHERE (p.amount, c.unit, c.name) IS DISTINCT FROM (y.amount, y.currency, 'receiver:' || y.receiver_id)

-- 9. The posting of a payout has its payout.
UNION ALL
SELECT 'posting_without_payout', 'posting ' || p.id, format('its key is %s, and there is no such payout', p.key)
FROM bursar.posting p LEFT JOIN bursar.payout y ON 'payout:' || y.job_id = p.key
WHERE p.kind = 'payout' AND y.job_id IS NULL

ORDER BY 1, 2
