//! Letting payouts go: what it would mean, said before it is done; and doing it. Whether anything may leave is still the engine's to decide.
//!
//! Rules
//! - *safe*: nothing is there that was sent for it. *done*: it is paid or reversed, or a job goes on with it by itself, which is counted
//!   apart. *unknown*: something may have left; it is looked for first, and never sent blindly.
//! - What was seen when it was confirmed is what is let go: one that stands otherwise by then, or was let go meanwhile, is left alone.
//! - The receiver's row is locked before the payout's, as everywhere.

use std::collections::BTreeMap;

use ring::digest;
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{Operator, payouts::PayoutFilter, risk::Verdict};
use crate::{
    engine::enqueue::enqueue,
    payouts::{
        pay_receiver::PayReceiver,
        state::{Act, Seen, State, turn},
        superseded,
    },
};

/// Sums by currency, in minor units.
pub type Sums = BTreeMap<String, i64>;

/// A payout, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// The verified job that it is owed for.
    pub job_id: String,
    /// What letting it go would mean.
    pub verdict: Verdict,
    /// Why, in a few words.
    pub why: String,
    /// What it would send at most, in minor units.
    pub amount: i64,
    /// Lower-case ISO code.
    pub currency: String,
    /// Its state's word.
    pub state: String,
    /// How often it was let go.
    #[serde(skip)]
    pub releases: i32,
    /// Whether it would be held again, because its receiver cannot be paid.
    #[serde(skip)]
    pub is_held_again: bool,
    /// Whether a job goes on with it by itself.
    #[serde(skip)]
    pub is_under_way: bool,
}

/// What letting all that match go would mean.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DryRun {
    /// How many match.
    pub matching: i64,
    /// For so many, nothing was sent.
    pub safe: i64,
    /// So many are paid, or reversed.
    pub done: i64,
    /// So many go on by themselves.
    pub under_way: i64,
    /// Of so many it is not known.
    pub unknown: i64,
    /// What may leave: the safe ones that are not held again, and the unknown ones.
    pub amounts: Sums,
    /// By verdict.
    pub sums: ByVerdict,
    /// So many of the safe ones are held again, because their receivers cannot be paid.
    pub held_again: i64,
    /// The first that need a look.
    pub examples: Vec<Judged>,
    /// What was shown: an act that is asked for with it is done only if the same matches still, standing as it stood.
    pub seal: String,
}

/// Sums of each verdict.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ByVerdict {
    /// Of the safe ones.
    pub safe: Sums,
    /// Of those that are done.
    pub done: Sums,
    /// Of those that go on by themselves.
    pub under_way: Sums,
    /// Of the unknown ones.
    pub unknown: Sums,
}

/// Examples shown.
const EXAMPLES: usize = 10;
/// Payouts judged at a time.
const PAGE: i64 = 1_000;

/// Judges these payouts, newest first.
pub async fn judge(db: &mut PgConnection, ids: &[String]) -> Result<Vec<Judged>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT p.job_id, p.state, p.currency, p.releases, p.held_by, coalesce(p.transfer_amount, p.amount) AS "amount!",
                  live.id AS "live?",
                  EXISTS (SELECT FROM bursar.intent i WHERE i.subject = 'payout:' || p.job_id
                          AND (i.state = 'unknown' OR i.state = 'open'
                               AND EXISTS (SELECT FROM bursar.call c WHERE c.intent_id = i.id AND c.what = 'send' AND c.answered_at IS NULL))) AS "lost!",
                  CASE WHEN r.active THEN NULL ELSE coalesce(bursar.why_held(p.receiver_id), p.receiver_id || ' has no connected account') END AS lacks
           FROM bursar.payout p
           LEFT JOIN bursar.receiver r ON r.user_id = p.receiver_id
           -- A held one whose job waits for another attempt can be let go at once.
           LEFT JOIN LATERAL (SELECT j.id FROM apalis.jobs j WHERE j.job_type = 'pay_receiver' AND j.idempotency_key = p.job_id || ':' || p.releases::text
                              AND (j.status = 'Running' OR j.status = 'Pending' AND (p.state <> 'held' OR j.run_at <= (SELECT bursar.now())))
                              LIMIT 1) live ON true
           WHERE p.job_id = ANY ($1) ORDER BY p.recorded_at DESC, p.job_id DESC"#,
        ids
    )
    .fetch_all(db)
    .await?;
    let judged = rows.into_iter().map(|row| {
        let unknown = matches!(row.state.as_str(), "sending" | "unknown") || row.lost;
        let held_again = !unknown && row.lacks.is_some();
        let (verdict, why) = match (row.state.as_str(), &row.live) {
            ("paid" | "reversed", _) => (Verdict::Done, format!("it is {}", row.state)),
            (_, Some(_)) => (Verdict::Done, "a job goes on with it by itself".to_owned()),
            (_, None) if unknown => {
                (Verdict::Unknown, format!("it is {}, and may have been sent: it is looked for first", row.state))
            }
            (_, None) => match (row.lacks, row.held_by.as_deref()) {
                (Some(lacks), _) => (Verdict::Safe, format!("nothing was sent, and it is held again: {lacks}")),
                (None, Some(limit)) => {
                    (Verdict::Safe, format!("nothing was sent; it goes beyond the {limit} this once"))
                }
                (None, None) => (Verdict::Safe, "nothing was sent".to_owned()),
            },
        };
        Judged {
            is_held_again: held_again && verdict == Verdict::Safe,
            is_under_way: row.live.is_some() && !matches!(row.state.as_str(), "paid" | "reversed"),
            job_id: row.job_id,
            verdict,
            why,
            amount: row.amount,
            currency: row.currency,
            state: row.state,
            releases: row.releases,
        }
    });
    Ok(judged.collect())
}

/// Judges all that match.
pub async fn dry_run(db: &mut PgConnection, filter: &PayoutFilter) -> Result<DryRun, sqlx::Error> {
    all(db, filter).await.map(|(dry, _)| dry)
}

/// Judges all that match; and those of them that can be let go.
pub(super) async fn all(db: &mut PgConnection, filter: &PayoutFilter) -> Result<(DryRun, Vec<Judged>), sqlx::Error> {
    let (mut dry, mut goes, mut after) = (DryRun::default(), Vec::new(), None::<String>);
    let mut seal = digest::Context::new(&digest::SHA256);
    loop {
        let ids = filter.ids(&mut *db, after.as_deref(), PAGE).await?;
        let Some(last) = ids.last() else { break };
        after = Some(last.clone());
        for one in judge(&mut *db, &ids).await? {
            seal.update(json!([one.job_id, one.state, one.releases, one.amount]).to_string().as_bytes());
            dry.add(&one);
            if one.verdict != Verdict::Done {
                goes.push(one);
            }
        }
    }
    dry.seal = seal.finish().as_ref().iter().fold(String::with_capacity(64), |text, byte| format!("{text}{byte:02x}"));
    Ok((dry, goes))
}

impl DryRun {
    /// The sum of these; without a seal, for it is not asked of them all at once.
    pub fn of(judged: &[Judged]) -> Self {
        let mut dry = Self::default();
        for one in judged {
            dry.add(one);
        }
        dry
    }

    /// How many would be let go.
    pub fn goes(&self) -> i64 {
        self.safe + self.unknown
    }

    fn add(&mut self, one: &Judged) {
        self.matching += 1;
        let (count, sum) = match one.verdict {
            Verdict::Safe => (&mut self.safe, &mut self.sums.safe),
            Verdict::Done if one.is_under_way => (&mut self.under_way, &mut self.sums.under_way),
            Verdict::Done => (&mut self.done, &mut self.sums.done),
            Verdict::Unknown => (&mut self.unknown, &mut self.sums.unknown),
        };
        *count += 1;
        let more = |sum: &mut Sums| {
            let of = sum.entry(one.currency.clone()).or_default();
            *of = of.saturating_add(one.amount);
        };
        more(sum);
        if one.verdict != Verdict::Done && !one.is_held_again {
            more(&mut self.amounts);
        }
        self.held_again += i64::from(one.is_held_again);
        if (one.verdict != Verdict::Safe || one.is_held_again) && self.examples.len() < EXAMPLES {
            self.examples.push(one.clone());
        }
    }
}

/// What is asked of one payout.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The verified job that it is owed for.
    pub job_id: &'a str,
    /// Use a new key, where Stripe saved a failure under the old one and no Transfer is there.
    pub after_saved_failure: bool,
    /// As it was seen: its state's word, and how often it had been let go. None: however it stands.
    pub seen: Option<(&'a str, i32)>,
    /// Why, in the operator's words.
    pub why: Option<&'a str>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It was let go: its state before and now.
    Released(State, State),
    /// There is no such payout.
    NoSuch,
    /// In that state there is nothing to let go.
    Not(String),
    /// This job goes on with it by itself.
    GoesOn(String),
    /// No failure is saved under its key, or nobody has looked behind it.
    NothingSaved,
    /// It stands otherwise than it was seen: so.
    Changed(String),
}

/// Lets a payout go, written down; in the caller's transaction, which changes nothing unless it was released.
pub async fn release(db: &mut PgConnection, by: &Operator, asked: Asked<'_>) -> Result<Came, sqlx::Error> {
    let job = asked.job_id;
    sqlx::query!(
        "SELECT FROM bursar.receiver WHERE user_id = (SELECT receiver_id FROM bursar.payout WHERE job_id = $1) FOR UPDATE",
        job
    )
    .execute(&mut *db)
    .await?;
    let payout =
        sqlx::query!("SELECT state, releases, held_by, reason FROM bursar.payout WHERE job_id = $1 FOR UPDATE", job)
            .fetch_optional(&mut *db)
            .await?;
    let Some(payout) = payout else { return Ok(Came::NoSuch) };
    if asked.seen.is_some_and(|(state, releases)| state != payout.state || releases != payout.releases) {
        return Ok(Came::Changed(payout.state));
    }
    let Some(was) = State::parse(&payout.state) else { return Ok(Came::Not(payout.state)) };
    let (state, Act::Enqueue) = turn(was, Seen::Released) else { return Ok(Came::Not(payout.state)) };
    let live = sqlx::query_scalar!(
        "SELECT id FROM bursar.job WHERE kind = 'pay_receiver' AND state IN ('ready', 'scheduled', 'running') AND key = $1 || ':' || $2::int::text",
        job,
        payout.releases
    )
    .fetch_optional(&mut *db)
    .await?
    .flatten();
    if let (Some(live), true) = (live, state != State::Held || asked.after_saved_failure) {
        return Ok(Came::GoesOn(live));
    }
    if asked.after_saved_failure && !raise(&mut *db, job).await? {
        return Ok(Came::NothingSaved);
    }
    look_first(&mut *db, job).await?;
    let releases = payout.releases + 1;
    sqlx::query!(
        // What a limit held, the operator's word lets pass, this once.
        "UPDATE bursar.payout SET state = $2, releases = $3, reason = $4, changed_at = bursar.now(), held_by = NULL,
                cap_lifted = cap_lifted OR held_by IS NOT DISTINCT FROM 'cap', minimum_met = minimum_met OR coalesce(held_by IN ('minimum', 'cap'), false)
         WHERE job_id = $1",
        job,
        state.name(),
        releases,
        format!("released by {}", by.who),
    )
    .execute(&mut *db)
    .await?;
    enqueue(&mut *db, &[PayReceiver::release(job, releases, "operator")]).await?;
    superseded::payout(&mut *db, job, releases, superseded::By { who: &by.who, via: by.via, why: asked.why }).await?;
    let before = json!({"state": payout.state, "held_by": payout.held_by, "reason": payout.reason});
    let after = json!({"state": state.name(), "after_saved_failure": asked.after_saved_failure});
    by.note(db, "payouts.release", job, (Some(before), Some(after)), asked.why).await?;
    Ok(Came::Released(was, state))
}

/// Lets the next generation be used, if one more look finds nothing. False: there is no saved failure that was looked behind.
async fn raise(db: &mut PgConnection, job: &str) -> Result<bool, sqlx::Error> {
    let raised = sqlx::query!(
        "UPDATE bursar.intent SET raise_after_look = true, changed_at = bursar.now()
         WHERE subject = $1 AND saved_failure AND looks > 0 AND state = 'unknown'
           AND generation = (SELECT max(generation) FROM bursar.intent WHERE subject = $1)",
        format!("payout:{job}"),
    )
    .execute(db)
    .await?;
    Ok(raised.rows_affected() > 0)
}

/// What may have left is looked for before anything is sent again, however young its key: an operator's word may come after a restore, and a
/// look costs little. Behind a saved failure it is looked anyway.
async fn look_first(db: &mut PgConnection, job: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.intent i SET young_since = NULL, changed_at = bursar.now()
         WHERE i.subject = $1 AND i.young_since IS NOT NULL AND NOT i.saved_failure
           AND (i.state = 'unknown' OR i.state = 'open'
                AND EXISTS (SELECT FROM bursar.call c WHERE c.intent_id = i.id AND c.what = 'send' AND c.answered_at IS NULL))",
        format!("payout:{job}"),
    )
    .execute(db)
    .await
    .map(drop)
}
