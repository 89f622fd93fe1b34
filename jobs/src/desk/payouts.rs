//! Which payouts: the one filter of the command line and the console; and what they come to.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{base::credits::Credits, payouts::state::State};

/// Which payouts. Everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayoutFilter {
    /// In this state.
    pub state: Option<State>,
    /// To this receiver.
    pub receiver: Option<String>,
    /// In this currency; a lower-case ISO code.
    pub currency: Option<String>,
    /// Held by this limit: `minimum` or `cap`.
    pub held_by: Option<String>,
    /// These words in its job, receiver, sender, skill, Transfer, event or reason, whatever their case.
    pub text: Option<String>,
    /// Recorded before.
    pub before: Option<DateTime<Utc>>,
    /// Recorded since.
    pub since: Option<DateTime<Utc>>,
}

/// A payout, under the names that programs rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Payout {
    /// The verified job that it is owed for.
    pub job_id: String,
    /// Who earns.
    pub receiver_id: String,
    /// In the currency's minor unit.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// Its state's word.
    pub state: String,
    /// Its Transfer, once it is known.
    pub transfer_id: Option<String>,
    /// What its Transfer sends, or sent; null before that is fixed.
    pub transfer_amount: Option<i64>,
    /// What of it settled debts of the receiver.
    pub netted: i64,
    /// What came back of its Transfer.
    pub returned: i64,
    /// What of it was reversed, and is owed no more.
    pub reversed: i64,
    /// What of that did not come back, and is not settled by later payouts yet.
    pub carried: i64,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// What was done.
    pub skill: String,
    /// Who bought it.
    pub sender_id: Option<String>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// What it cost; millionths here, a decimal text of credits for programs.
    #[serde(serialize_with = "as_credits")]
    pub credits: i64,
    /// The event that says so.
    pub event_id: Option<String>,
    /// When its state last changed.
    pub changed_at: DateTime<Utc>,
    /// The limit that holds it.
    #[serde(skip)]
    pub held_by: Option<String>,
    /// How often it was let go.
    #[serde(skip)]
    pub releases: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn as_credits<S: serde::Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Credits::from_micros(*micros).serialize(serializer)
}

/// What the payouts in one state and currency come to.
#[derive(Debug, Clone, Serialize)]
pub struct Sum {
    /// The state's word.
    pub state: String,
    /// Lower-case ISO code.
    pub currency: String,
    /// How many.
    pub count: i64,
    /// What they were recorded with, in minor units.
    pub amount: i64,
    /// When the oldest was recorded.
    pub oldest_at: Option<DateTime<Utc>>,
}

impl PayoutFilter {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// It, for the record.
    pub fn said(&self) -> Value {
        let mut said = json!({
            "state": self.state.map(State::name), "receiver": self.receiver, "currency": self.currency, "held_by": self.held_by,
            "text": self.text, "before": self.before, "since": self.since,
        });
        if let Some(all) = said.as_object_mut() {
            all.retain(|_, value| !value.is_null());
        }
        said
    }

    /// The payouts that match, newest first, of those after `after` where that is said.
    pub async fn page(
        &self,
        db: &mut PgConnection,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Payout>, sqlx::Error> {
        let ids = self.ids(&mut *db, after, limit).await?;
        these(db, &ids).await
    }

    /// The jobs of those, newest payout first.
    pub async fn ids(
        &self,
        db: &mut PgConnection,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar!(
            "SELECT p.job_id FROM bursar.payout p
             WHERE ($1::text IS NULL OR p.state = $1) AND ($2::text IS NULL OR p.receiver_id = $2)
               AND ($3::text IS NULL OR p.currency = $3) AND ($4::text IS NULL OR p.held_by = $4)
               AND ($5::text IS NULL OR position(lower($5) IN lower(concat_ws(' ', p.job_id, p.receiver_id, p.sender_id, p.skill,
                                                                               p.transfer_id, p.event_id, p.reason))) > 0)
               AND ($6::timestamptz IS NULL OR p.recorded_at < $6) AND ($7::timestamptz IS NULL OR p.recorded_at >= $7)
               AND ($8::text IS NULL OR (p.recorded_at, p.job_id) < (SELECT a.recorded_at, a.job_id FROM bursar.payout a WHERE a.job_id = $8))
             ORDER BY p.recorded_at DESC, p.job_id DESC LIMIT $9",
            self.state.map(State::name),
            self.receiver,
            self.currency,
            self.held_by,
            self.text,
            self.before,
            self.since,
            after,
            limit,
        )
        .fetch_all(db)
        .await
    }

    /// What all that match come to, by state and currency.
    pub async fn sums(&self, db: &mut PgConnection) -> Result<Vec<Sum>, sqlx::Error> {
        sqlx::query_as!(
            Sum,
            r#"SELECT p.state, p.currency, count(*) AS "count!", sum(p.amount)::bigint AS "amount!", min(p.recorded_at) AS oldest_at
               FROM bursar.payout p
               WHERE ($1::text IS NULL OR p.state = $1) AND ($2::text IS NULL OR p.receiver_id = $2)
                 AND ($3::text IS NULL OR p.currency = $3) AND ($4::text IS NULL OR p.held_by = $4)
                 AND ($5::text IS NULL OR position(lower($5) IN lower(concat_ws(' ', p.job_id, p.receiver_id, p.sender_id, p.skill,
                                                                                 p.transfer_id, p.event_id, p.reason))) > 0)
                 AND ($6::timestamptz IS NULL OR p.recorded_at < $6) AND ($7::timestamptz IS NULL OR p.recorded_at >= $7)
               GROUP BY p.state, p.currency ORDER BY p.state, p.currency"#,
            self.state.map(State::name),
            self.receiver,
            self.currency,
            self.held_by,
            self.text,
            self.before,
            self.since,
        )
        .fetch_all(db)
        .await
    }
}

/// These payouts, newest first.
pub async fn these(db: &mut PgConnection, ids: &[String]) -> Result<Vec<Payout>, sqlx::Error> {
    sqlx::query_as!(
        Payout,
        r#"SELECT job_id, receiver_id, amount, currency, state, transfer_id, skill, sender_id, recorded_at, credits,
                  -- Of one that is held, what its receiver's account lacks now, unless something else stopped it.
                  CASE WHEN state = 'held' AND reason NOT LIKE 'stopped: %' OR state = 'held' AND reason IS NULL
                       THEN coalesce(bursar.why_held(receiver_id), reason) ELSE reason END AS reason,
                  event_id, changed_at, transfer_amount, netted, returned, undone AS reversed,
                  greatest(carried - recovered, 0) AS "carried!", held_by, releases
           FROM bursar.payout WHERE job_id = ANY ($1) ORDER BY recorded_at DESC, job_id DESC"#,
        ids,
    )
    .fetch_all(db)
    .await
}
