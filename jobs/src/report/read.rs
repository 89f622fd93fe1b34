//! Reading a report out of the books: a few statements, each for a part of it.

use sqlx::PgConnection;

use super::{
    Dead, Disputes, Dunning, Movements, Payments, Payouts, Period, Report, Revenue, Sum, Waiting, monthly, parts,
    percent,
};
use crate::base::credits::Credits;

/// The report of a period, as the database has it now. To be asked in one transaction, so that its parts agree.
pub async fn of(db: &mut PgConnection, period: Period) -> Result<Report, sqlx::Error> {
    Ok(Report {
        week: period.week(),
        from: period.from,
        to: period.to,
        payments: payments(db, period).await?,
        revenue: revenue(db, period).await?,
        without_amount: without_amount(db, period).await?,
        dunning: dunning(db, period).await?,
        credits: movements(db, period).await?,
        payouts: payouts(db, period).await?,
        disputes: disputes(db, period).await?,
        dead_jobs: sqlx::query_as!(
            Dead,
            r#"SELECT kind AS "kind!", count(*) AS "count!" FROM bursar.job WHERE state = 'dead' GROUP BY kind ORDER BY 2 DESC, 1"#
        )
        .fetch_all(&mut *db)
        .await?,
        findings: sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM bursar.finding WHERE state = 'open'"#)
            .fetch_one(db)
            .await?,
    })
}

async fn payments(db: &mut PgConnection, period: Period) -> Result<Payments, sqlx::Error> {
    // One invoice is told of by two types of event and by twins. What a body says is looked for in its bytes: whatever else a stranger
    // wrote into it cannot make the statement fail.
    let row = sqlx::query!(
        r#"WITH told AS (
               SELECT e.object_id, e.type, e.type IN ('invoice.paid', 'invoice.payment_succeeded') AS paid
               FROM bursar.event e
               WHERE e.source = 'stripe' AND e.account IS NULL AND e.object_id IS NOT NULL AND e.received_at >= $1 AND e.received_at < $2
                 AND e.type IN ('invoice.paid', 'invoice.payment_succeeded', 'invoice.payment_failed', 'checkout.session.async_payment_failed')
                 AND e.livemode IS NOT DISTINCT FROM coalesce((SELECT s.value = 'live' FROM bursar.setting s WHERE s.name = 'stripe'), e.livemode)
                 AND NOT (e.type IN ('invoice.paid', 'invoice.payment_succeeded') AND e.body IS NOT NULL
                          AND convert_from(e.body, 'LATIN1'::name) ~ '"amount_paid"\s*:\s*0\s*[,}]'
                          AND convert_from(e.body, 'LATIN1'::name) !~ '"amount_paid"\s*:\s*[1-9]')
                 -- What was known as paid before is not paid again, and has not failed since.
                 AND NOT EXISTS (SELECT FROM bursar.event b WHERE b.source = 'stripe' AND b.object_id = e.object_id AND b.received_at < $1
                                 AND b.type IN ('invoice.paid', 'invoice.payment_succeeded'))
           ), objects AS (
               SELECT object_id, bool_or(paid) AS paid, count(*) FILTER (WHERE NOT paid) AS failures FROM told GROUP BY object_id
           ), bought AS (
               SELECT count(*) AS many FROM bursar.posting p WHERE p.kind = 'purchase' AND p.posted_at >= $1 AND p.posted_at < $2
           )
           SELECT (count(*) FILTER (WHERE o.paid) + (SELECT b.many FROM bought b))::bigint AS "paid!",
                  count(*) FILTER (WHERE NOT o.paid) AS "failed!", coalesce(sum(o.failures), 0)::bigint AS "attempts!"
           FROM objects o"#,
        period.from,
        period.to
    )
    .fetch_one(db)
    .await?;
    Ok(Payments {
        paid: row.paid,
        failed: row.failed,
        failed_attempts: row.attempts,
        success_percent: percent(row.paid, row.paid + row.failed),
    })
}

async fn revenue(db: &mut PgConnection, period: Period) -> Result<Vec<Revenue>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"WITH ends AS (SELECT 1 AS n, $1::timestamptz AS until UNION ALL SELECT 2, $2
           ), last AS (
               -- What each subscription was worth at either end.
               SELECT DISTINCT ON (e.n, w.subscription_id) e.n, w.user_id, w.yearly, w.currency
               FROM ends e JOIN bursar.subscription_worth w ON w.at < e.until
               ORDER BY e.n, w.subscription_id, w.at DESC, w.id DESC
           ), users AS (
               -- Who pays by a price without a plain amount pays something: nobody who comes from there is new, or lost who goes there.
               SELECT l.user_id, l.currency, coalesce(sum(l.yearly) FILTER (WHERE l.n = 1), 0) AS before,
                      coalesce(sum(l.yearly) FILTER (WHERE l.n = 2), 0) AS after,
                      bool_or(l.n = 1) AS paid_before, bool_or(l.n = 2) AS pays_after
               FROM last l WHERE (l.yearly > 0 OR l.yearly IS NULL) AND l.currency IS NOT NULL
               GROUP BY l.user_id, l.currency HAVING sum(l.yearly) > 0.0
           ), judged AS (
               SELECT u.*,
                      NOT u.paid_before AND EXISTS (SELECT FROM bursar.subscription_worth w
                          WHERE w.user_id = u.user_id AND w.currency = u.currency AND w.at < $1 AND (w.yearly > 0 OR w.yearly IS NULL)) AS returned,
                      NOT u.pays_after AND EXISTS (SELECT FROM bursar.dunning_case c
                          WHERE c.user_id = u.user_id AND c.failed_at < $2
                            AND (c.state IN ('paused', 'cancelled', 'exhausted', 'uncollectible', 'ended') AND c.changed_at >= $1 AND c.changed_at < $2
                                 OR EXISTS (SELECT FROM bursar.dunning_step s WHERE s.invoice_id = c.invoice_id AND s.step LIKE 'final:%'
                                            AND s.state = 'done' AND s.changed_at >= $1 AND s.changed_at < $2))) AS involuntary
               FROM users u
           )
           SELECT j.currency AS "currency!", sum(j.before)::bigint AS "before!", sum(j.after)::bigint AS "after!",
                  coalesce(sum(j.after) FILTER (WHERE NOT j.paid_before AND NOT j.returned), 0)::bigint AS "new!",
                  coalesce(sum(j.after) FILTER (WHERE j.returned), 0)::bigint AS "returned!",
                  coalesce(sum(j.after - j.before) FILTER (WHERE j.paid_before AND j.after > j.before), 0)::bigint AS "expansion!",
                  coalesce(sum(j.before - j.after) FILTER (WHERE j.pays_after AND j.after < j.before), 0)::bigint AS "contraction!",
                  coalesce(sum(j.before) FILTER (WHERE NOT j.pays_after), 0)::bigint AS "churn!",
                  coalesce(sum(j.before) FILTER (WHERE j.involuntary), 0)::bigint AS "involuntary!",
                  count(*) FILTER (WHERE j.before > 0.0) AS "users_before!", count(*) FILTER (WHERE j.after > 0.0) AS "users!",
                  count(*) FILTER (WHERE NOT j.pays_after) AS "churned_users!", count(*) FILTER (WHERE j.involuntary) AS "involuntary_users!"
           FROM judged j GROUP BY j.currency ORDER BY sum(j.after) DESC, j.currency"#,
        period.from,
        period.to
    )
    .fetch_all(db)
    .await?;
    let mut all: Vec<Revenue> = rows
        .into_iter()
        .map(|row| {
            let [new, returned, expansion, contraction, churn] =
                parts(row.before, [row.new, row.returned, row.expansion, -row.contraction, -row.churn]);
            Revenue {
                mrr_before: monthly(row.before),
                new,
                returned,
                expansion,
                contraction: -contraction,
                churn: -churn,
                involuntary_churn: monthly(row.involuntary).min(-churn),
                mrr: monthly(row.after),
                arpu: (row.users > 0).then(|| monthly(row.after / row.users)),
                churn_percent: percent(row.churned_users, row.users_before),
                involuntary_percent: percent(row.involuntary_users, row.users_before),
                users_before: row.users_before,
                users: row.users,
                churned_users: row.churned_users,
                involuntary_users: row.involuntary_users,
                currency: row.currency,
            }
        })
        .collect();
    // Sums of two currencies cannot be compared: where most users pay comes first.
    all.sort_by(|a, b| b.users.cmp(&a.users).then_with(|| a.currency.cmp(&b.currency)));
    Ok(all)
}

async fn without_amount(db: &mut PgConnection, period: Period) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT DISTINCT ON (w.subscription_id) w.yearly FROM bursar.subscription_worth w WHERE w.at < $1
               ORDER BY w.subscription_id, w.at DESC, w.id DESC) last
           WHERE last.yearly IS NULL"#,
        period.to
    )
    .fetch_one(db)
    .await
}

async fn dunning(db: &mut PgConnection, period: Period) -> Result<Dunning, sqlx::Error> {
    let row = sqlx::query!(
        // A case is lost once: when its last step was done, whatever becomes of it later, or when it ended without one.
        r#"SELECT count(*) FILTER (WHERE opened_at >= $1 AND opened_at < $2) AS "opened!", count(*) FILTER (WHERE state = 'open') AS "open!",
                  count(*) FILTER (WHERE lost_at >= $1 AND lost_at < $2) AS "lost!"
           FROM (SELECT c.opened_at, c.state, coalesce(min(s.changed_at), CASE WHEN c.state NOT IN ('open', 'paid', 'stopped', 'void') THEN c.changed_at END) AS lost_at
                 FROM bursar.dunning_case c
                 LEFT JOIN bursar.dunning_step s ON s.invoice_id = c.invoice_id AND s.step LIKE 'final:%' AND s.state = 'done'
                 GROUP BY c.invoice_id) c"#,
        period.from,
        period.to
    )
    .fetch_one(&mut *db)
    .await?;
    let recovered_sums = sqlx::query_as!(
        Sum,
        r#"SELECT currency, count(*) AS "count!", sum(amount)::bigint AS "amount!" FROM bursar.dunning_case
           WHERE state = 'paid' AND changed_at >= $1 AND changed_at < $2 GROUP BY currency ORDER BY currency"#,
        period.from,
        period.to
    )
    .fetch_all(db)
    .await?;
    let recovered = recovered_sums.iter().map(|sum| sum.count).sum();
    Ok(Dunning { opened: row.opened, recovered, recovered_sums, lost: row.lost, open: row.open })
}

async fn movements(db: &mut PgConnection, period: Period) -> Result<Movements, sqlx::Error> {
    let moved = sqlx::query!(
        r#"SELECT coalesce(sum(p.amount) FILTER (WHERE d.name = 'issuance' AND p.reverses IS NULL), 0)::bigint AS "granted!",
                  coalesce(sum(CASE WHEN c.name = 'issuance' THEN p.amount WHEN d.name = 'issuance' AND p.reverses IS NOT NULL THEN -p.amount END), 0)::bigint AS "taken_back!",
                  coalesce(sum(CASE WHEN c.name = 'usage' THEN p.amount WHEN d.name = 'usage' THEN -p.amount END), 0)::bigint AS "spent!",
                  coalesce(sum(CASE WHEN c.name = 'breakage' THEN p.amount WHEN d.name = 'breakage' THEN -p.amount END), 0)::bigint AS "expired!"
           FROM bursar.posting p JOIN bursar.account d ON d.id = p.debit JOIN bursar.account c ON c.id = p.credit
           WHERE d.unit = 'credits' AND p.posted_at >= $1 AND p.posted_at < $2"#,
        period.from,
        period.to
    )
    .fetch_one(&mut *db)
    .await?;
    // Balances at the end of the period: as they are now, less what came since.
    let stand = sqlx::query!(
        r#"WITH since AS (
               SELECT m.account, sum(m.delta) AS delta
               FROM (SELECT p.credit AS account, p.amount AS delta FROM bursar.posting p WHERE p.posted_at >= $1
                     UNION ALL SELECT p.debit, -p.amount FROM bursar.posting p WHERE p.posted_at >= $1) m
               GROUP BY m.account
           ), ends AS (
               SELECT a.balance::numeric - coalesce(s.delta, 0) AS balance
               FROM bursar.account a LEFT JOIN since s ON s.account = a.id WHERE a.unit = 'credits' AND NOT a.derived
           )
           SELECT coalesce(sum(greatest(e.balance, 0)), 0)::bigint AS "outstanding!",
                  coalesce(sum(least(e.balance, 0)), 0)::bigint AS "below_zero!"
           FROM ends e"#,
        period.to
    )
    .fetch_one(db)
    .await?;
    Ok(Movements {
        granted: Credits::from_micros(moved.granted),
        taken_back: Credits::from_micros(moved.taken_back),
        spent: Credits::from_micros(moved.spent),
        expired: Credits::from_micros(moved.expired),
        outstanding: Credits::from_micros(stand.outstanding),
        below_zero: Credits::from_micros(stand.below_zero),
    })
}

async fn payouts(db: &mut PgConnection, period: Period) -> Result<Vec<Payouts>, sqlx::Error> {
    sqlx::query_as!(
        Payouts,
        r#"WITH parts AS (
               -- Money that left for receivers and that came back: by the books.
               SELECT d.unit AS currency, CASE WHEN c.name = 'stripe' THEN 'paid' ELSE 'reversed' END AS part, p.amount
               FROM bursar.posting p JOIN bursar.account d ON d.id = p.debit JOIN bursar.account c ON c.id = p.credit
               WHERE d.unit <> 'credits' AND p.posted_at >= $1 AND p.posted_at < $2
                 AND (c.name = 'stripe' AND d.name LIKE 'receiver:%' OR d.name = 'stripe' AND c.name LIKE 'receiver:%')
               UNION ALL
               SELECT o.currency, o.state, o.amount FROM bursar.payout o WHERE o.state IN ('held', 'unknown', 'rejected')
           )
           SELECT currency AS "currency!",
                  count(*) FILTER (WHERE part = 'paid') AS "paid!", coalesce(sum(amount) FILTER (WHERE part = 'paid'), 0)::bigint AS "paid_amount!",
                  count(*) FILTER (WHERE part = 'held') AS "held!", coalesce(sum(amount) FILTER (WHERE part = 'held'), 0)::bigint AS "held_amount!",
                  count(*) FILTER (WHERE part = 'unknown') AS "unknown!", coalesce(sum(amount) FILTER (WHERE part = 'unknown'), 0)::bigint AS "unknown_amount!",
                  count(*) FILTER (WHERE part = 'rejected') AS "rejected!", coalesce(sum(amount) FILTER (WHERE part = 'rejected'), 0)::bigint AS "rejected_amount!",
                  count(*) FILTER (WHERE part = 'reversed') AS "reversed!", coalesce(sum(amount) FILTER (WHERE part = 'reversed'), 0)::bigint AS "reversed_amount!"
           FROM parts GROUP BY currency ORDER BY currency"#,
        period.from,
        period.to
    )
    .fetch_all(db)
    .await
}

async fn disputes(db: &mut PgConnection, period: Period) -> Result<Disputes, sqlx::Error> {
    let opened = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM bursar.dispute WHERE created_at >= $1 AND created_at < $2"#,
        period.from,
        period.to
    )
    .fetch_one(&mut *db)
    .await?;
    let waiting = sqlx::query_as!(
        Waiting,
        "SELECT id, amount, currency, due_by, user_id FROM bursar.dispute WHERE status IN ('needs_response', 'warning_needs_response')
         ORDER BY due_by NULLS LAST, id"
    )
    .fetch_all(db)
    .await?;
    Ok(Disputes { opened, waiting })
}
