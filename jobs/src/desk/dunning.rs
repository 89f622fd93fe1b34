//! Cases of dunning: which there are, what was done about each, how many come to what; and stopping one.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    desk::Operator,
    dunning::{self, letters},
    engine::{apply, job::Effects},
    registry,
};

/// The states of a case, in the order in which they are looked for.
pub const STATES: [&str; 9] =
    ["open", "paused", "cancelled", "exhausted", "paid", "void", "uncollectible", "ended", "stopped"];

/// A case, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// `in_…`
    pub invoice_id: String,
    /// `sub_…`
    pub subscription_id: String,
    /// `cus_…`
    pub customer_id: Option<String>,
    /// Whose.
    pub user_id: String,
    /// Its state's word.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// What was owed when it was opened, in the currency's minor unit.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// The first failure.
    pub failed_at: DateTime<Utc>,
    /// What comes next.
    pub next_step: Option<String>,
    /// When.
    pub next_at: Option<DateTime<Utc>>,
    /// The event that opened it.
    pub event_id: Option<String>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When it last changed.
    pub changed_at: DateTime<Utc>,
}

/// A step of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Taken {
    /// `letter:0`, `retry:3`, `final:7`, `resume`.
    pub step: String,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// `planned`, `running`, `sending`, `unknown`, `done` or `skipped`.
    pub state: String,
    /// What came of it.
    pub outcome: Option<String>,
    /// When its state last changed.
    pub changed_at: DateTime<Utc>,
    /// What became of the letter that it wrote: `sent`, `under_way`, `dead`, `cancelled` or `skipped`. Null: it wrote none, or one of which
    /// nothing is left.
    pub letter: Option<&'static str>,
    /// Why, of one that was not sent.
    pub letter_why: Option<String>,
    /// The job that sends it.
    pub letter_job: Option<String>,
}

impl Taken {
    /// What became of its letter, in words. None where there is nothing to say.
    pub fn letter_said(&self) -> Option<String> {
        let why = self.letter_why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        Some(match self.letter? {
            "sent" => "the letter was sent".to_owned(),
            "under_way" => format!("the letter is not sent yet{why}"),
            "dead" => format!("the letter was NOT sent, and its job is dead{why}"),
            other => format!("the letter was not sent, its job was {other}{why}"),
        })
    }
}

/// One case, step by step.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// It.
    #[serde(flatten)]
    pub case: Case,
    /// As it was when the case was opened.
    pub schedule: Value,
    /// The latest deadline that a letter named.
    pub promised_until: Option<DateTime<Utc>>,
    /// When a card was asked for.
    pub card_asked_at: Option<DateTime<Utc>>,
    /// Its steps, in order.
    pub steps: Vec<Taken>,
}

/// The cases that match, newest first, of those after `after` where that is said.
pub async fn list(
    db: &mut PgConnection,
    state: Option<&str>,
    user: Option<&str>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Case>, sqlx::Error> {
    sqlx::query_as!(
        Case,
        r#"SELECT c.invoice_id, c.subscription_id, c.customer_id, c.user_id, c.state, c.reason, c.amount, c.currency, c.failed_at,
                  n.step AS "next_step?", n.due_at AS "next_at?", c.event_id, c.opened_at, c.changed_at
           FROM bursar.dunning_case c
           LEFT JOIN LATERAL (SELECT s.step, s.due_at FROM bursar.dunning_step s
                              WHERE s.invoice_id = c.invoice_id AND s.state NOT IN ('done', 'skipped')
                              ORDER BY s.due_at, s.day, s.step LIMIT 1) n ON true
           WHERE ($1::text IS NULL OR c.state = $1) AND ($2::text IS NULL OR c.user_id = $2)
             AND ($3::text IS NULL OR (c.opened_at, c.invoice_id) <
                  (SELECT a.opened_at, a.invoice_id FROM bursar.dunning_case a WHERE a.invoice_id = $3))
           ORDER BY c.opened_at DESC, c.invoice_id DESC LIMIT $4"#,
        state,
        user,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Reads one. None: there is no such case.
pub async fn page(db: &mut PgConnection, invoice: &str) -> Result<Option<Page>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT invoice_id, subscription_id, customer_id, user_id, state, reason, amount, currency, failed_at, event_id, opened_at,
                changed_at, schedule, promised_until, card_asked_at
         FROM bursar.dunning_case WHERE invoice_id = $1",
        invoice
    )
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let steps = steps(db, invoice).await?;
    let next = steps.iter().find(|step| !matches!(step.state.as_str(), "done" | "skipped"));
    let case = Case {
        invoice_id: row.invoice_id,
        subscription_id: row.subscription_id,
        customer_id: row.customer_id,
        user_id: row.user_id,
        state: row.state,
        reason: row.reason,
        amount: row.amount,
        currency: row.currency,
        failed_at: row.failed_at,
        next_step: next.map(|step| step.step.clone()),
        next_at: next.map(|step| step.due_at),
        event_id: row.event_id,
        opened_at: row.opened_at,
        changed_at: row.changed_at,
    };
    Ok(Some(Page {
        case,
        schedule: row.schedule,
        promised_until: row.promised_until,
        card_asked_at: row.card_asked_at,
        steps,
    }))
}

/// The steps of a case, in order, with what became of their letters.
async fn steps(db: &mut PgConnection, invoice: &str) -> Result<Vec<Taken>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT step, due_at, state, outcome, changed_at FROM bursar.dunning_step WHERE invoice_id = $1 ORDER BY due_at, day, step",
        invoice
    )
    .fetch_all(&mut *db)
    .await?;
    let letters = sqlx::query!(
        r#"SELECT w.place AS "place!", l.state = 'sent' AS "sent?", j.id AS "job?", j.state AS "state?", j.reason AS "reason?"
           FROM pg_catalog.unnest($2::text[]) AS w (place)
           LEFT JOIN bursar.letter l ON l.key = 'dunning:' || $1 || ':' || w.place
           LEFT JOIN bursar.job j ON j.kind = 'send_letter' AND j.key = 'dunning:' || $1 || ':' || w.place
           WHERE l.key IS NOT NULL OR j.id IS NOT NULL"#,
        invoice,
        &rows.iter().flat_map(|row| letters::places(&row.step, row.outcome.as_deref())).collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await?;
    let taken = rows.into_iter().map(|row| {
        let places = letters::places(&row.step, row.outcome.as_deref());
        let letter = letters.iter().find(|letter| places.contains(&letter.place));
        let unsent = letter.filter(|letter| letter.sent != Some(true));
        Taken {
            letter: letter.map(|letter| match (letter.sent, letter.state.as_deref()) {
                (Some(true), _) => "sent",
                (_, Some("dead") | None) => "dead",
                (_, Some("cancelled")) => "cancelled",
                (_, Some("done")) => "skipped",
                (_, Some(_)) => "under_way",
            }),
            letter_why: unsent.and_then(|letter| letter.reason.clone()),
            letter_job: unsent.and_then(|letter| letter.job.clone()),
            step: row.step,
            due_at: row.due_at,
            state: row.state,
            outcome: row.outcome,
            changed_at: row.changed_at,
        }
    });
    Ok(taken.collect())
}

/// What came of wanting a case stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It is; it was open.
    Stopped,
    /// In that state there is nothing left to stop.
    Not(String),
    /// There is no such case.
    NoSuch,
}

/// Stops an open case, written down; in the caller's transaction.
pub async fn stop(db: &mut PgConnection, by: &Operator, invoice: &str, why: &str) -> Result<Stop, sqlx::Error> {
    let was = sqlx::query_scalar!("SELECT state FROM bursar.dunning_case WHERE invoice_id = $1 FOR UPDATE", invoice)
        .fetch_optional(&mut *db)
        .await?;
    let Some(was) = was else { return Ok(Stop::NoSuch) };
    if was != "open" {
        return Ok(Stop::Not(was));
    }
    let reason = format!("stopped by {}: {why}", by.who);
    let close = dunning::change::Change::Close { invoice: invoice.to_owned(), state: "stopped", reason };
    let effects = Effects { changes: vec![close.into()], ..Effects::done() };
    apply::apply(registry::DOMAINS, &mut *db, &[effects]).await?;
    let states = (Some(json!({ "state": was })), Some(json!({ "state": "stopped" })));
    by.note(db, "dunning.stop", invoice, states, Some(why)).await?;
    Ok(Stop::Stopped)
}

/// What became of the cases that were opened in the last thirty days.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Funnel {
    /// How many were opened.
    pub opened: i64,
    /// To so many a letter was sent, by the letters' own word.
    pub lettered: i64,
    /// The payment of so many was tried again.
    pub retried: i64,
    /// So many were paid.
    pub recovered: i64,
    /// So many are open still.
    pub open: i64,
    /// So many were paused or cancelled at the end.
    pub given_up: i64,
    /// What was owed, and what of it was paid: minor units by currency.
    pub sums: Vec<Owed>,
}

/// What was owed in one currency.
#[derive(Debug, Clone, Serialize)]
pub struct Owed {
    /// Lower-case ISO code.
    pub currency: String,
    /// In all, in minor units.
    pub owed: i64,
    /// Of that, what was paid.
    pub recovered: i64,
}

/// Reads it.
pub async fn funnel(db: &mut PgConnection) -> Result<Funnel, sqlx::Error> {
    let counts = sqlx::query!(
        r#"SELECT count(*) AS "opened!", count(*) FILTER (WHERE c.state = 'open') AS "open!",
                  count(*) FILTER (WHERE EXISTS (
                      SELECT FROM bursar.dunning_step s JOIN bursar.letter l
                          ON l.key IN ('dunning:' || s.invoice_id || ':' || s.step, 'dunning:' || s.invoice_id || ':card_needed')
                      WHERE s.invoice_id = c.invoice_id AND s.step LIKE 'letter:%' AND l.state = 'sent')) AS "lettered!",
                  count(*) FILTER (WHERE EXISTS (SELECT FROM bursar.dunning_step s WHERE s.invoice_id = c.invoice_id
                                                 AND s.step LIKE 'retry:%' AND s.state = 'done')) AS "retried!",
                  count(*) FILTER (WHERE c.state = 'paid') AS "recovered!",
                  count(*) FILTER (WHERE c.state IN ('paused', 'cancelled')) AS "given_up!"
           FROM bursar.dunning_case c WHERE c.opened_at >= (SELECT bursar.now()) - interval '30 days'"#
    )
    .fetch_one(&mut *db)
    .await?;
    let sums = sqlx::query_as!(
        Owed,
        r#"SELECT currency, sum(amount)::bigint AS "owed!", coalesce(sum(amount) FILTER (WHERE state = 'paid'), 0)::bigint AS "recovered!"
           FROM bursar.dunning_case WHERE opened_at >= (SELECT bursar.now()) - interval '30 days' GROUP BY currency ORDER BY currency"#
    )
    .fetch_all(db)
    .await?;
    Ok(Funnel {
        opened: counts.opened,
        lettered: counts.lettered,
        retried: counts.retried,
        recovered: counts.recovered,
        open: counts.open,
        given_up: counts.given_up,
        sums,
    })
}
