//! Intents and the calls made under them, as the database keeps them.

use bursar_stripe::{Request, Seen};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

/// The committed decision to make one call.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Its row.
    pub id: i64,
    /// From 1; raised only after a rejection that Stripe saved.
    pub generation: i32,
    /// What the request goes under.
    pub key: String,
    /// The bytes.
    pub request: Request,
    /// Of the parameters.
    pub fingerprint: String,
    /// `open`, `unknown`, `succeeded` or `rejected`.
    pub state: String,
    /// Whether the key is surely young: by the database's clock, which also wrote when it was first used.
    pub young: bool,
    /// Whether Stripe replays a 5xx under the key.
    pub saved_failure: bool,
    /// Rejections that were not seen to be saved.
    pub refusals: i32,
    /// Looks that found nothing since the last answer.
    pub looks: i32,
    /// An operator wants the next generation, if one more look finds nothing.
    pub raise_after_look: bool,
}

/// The newest intent of a subject, locked.
pub async fn newest(db: &mut PgConnection, subject: &str) -> Result<Option<Intent>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT id, generation, idempotency_key, request AS "request: Json<Request>", fingerprint, state,
                  coalesce(bursar.is_young(young_since), false) AS "young!", saved_failure, refusals, looks, raise_after_look
           FROM bursar.intent WHERE subject = $1 ORDER BY generation DESC LIMIT 1 FOR UPDATE"#,
        subject
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Intent {
        id: row.id,
        generation: row.generation,
        key: row.idempotency_key,
        request: row.request.0,
        fingerprint: row.fingerprint,
        state: row.state,
        young: row.young,
        saved_failure: row.saved_failure,
        refusals: row.refusals,
        looks: row.looks,
        raise_after_look: row.raise_after_look,
    }))
}

/// Makes the intent of a generation. Its key counts from `since`, when the matter began by anyone's word: a database that was restored
/// knows nothing of a first use. One that is not young must look before it sends.
pub async fn make(
    db: &mut PgConnection,
    subject: &str,
    generation: i32,
    request: &Request,
    since: DateTime<Utc>,
) -> Result<Intent, sqlx::Error> {
    let key = bursar_stripe::idempotency_key(subject, generation.unsigned_abs());
    let fingerprint = request.fingerprint();
    let row = sqlx::query!(
        r#"INSERT INTO bursar.intent (subject, generation, idempotency_key, request, fingerprint, young_since)
           VALUES ($1, $2, $3, $4, $5, CASE WHEN bursar.is_young($6) THEN least($6, bursar.now()) END)
           RETURNING id, young_since IS NOT NULL AS "young!""#,
        subject,
        generation,
        key,
        Json(request) as _,
        fingerprint,
        since,
    )
    .fetch_one(db)
    .await?;
    Ok(Intent {
        id: row.id,
        generation,
        key,
        request: request.clone(),
        fingerprint,
        state: "open".into(),
        young: row.young,
        saved_failure: false,
        refusals: 0,
        looks: 0,
        raise_after_look: false,
    })
}

/// Whether an intent is still the one that counts, and still open: another job may have brought the matter to its end meanwhile.
pub async fn is_current(db: &mut PgConnection, intent: &Intent) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bursar.intent i WHERE i.id = $1 AND i.state IN ('open', 'unknown')
               AND NOT EXISTS (SELECT FROM bursar.intent n WHERE n.subject = i.subject AND n.generation > i.generation)) AS "current!""#,
        intent.id
    )
    .fetch_one(db)
    .await
}

/// What an answer changes about an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It had its effect.
    Succeeded,
    /// Refused, and the refusal is saved under the key.
    Rejected,
    /// Refused, and not seen to be saved.
    Refused,
    /// Nobody knows: send the same again while the key is young.
    Unknown,
    /// Nobody knows, and what came asks for a look before anything is sent again.
    LookFirst,
    /// Nobody knows, and Stripe has a 5xx to give under the key and nothing else: sending again will not tell.
    SavedFailure,
    /// A look found nothing, and the key's answer may have been forgotten: it may be sent again, as if young.
    NothingCame,
    /// A look found nothing, but a saved failure stands under the key: look again later.
    NothingYet,
    /// The answer says nothing about the effect.
    Nothing,
}

/// Records it.
pub async fn record(db: &mut PgConnection, intent: &Intent, news: News) -> Result<(), sqlx::Error> {
    let (state, saved) = match news {
        News::Succeeded => ("succeeded", false),
        News::Rejected => ("rejected", false),
        News::Unknown | News::LookFirst => ("unknown", intent.saved_failure),
        News::SavedFailure => ("unknown", true),
        News::NothingCame => ("open", false),
        News::Refused | News::NothingYet | News::Nothing => (intent.state.as_str(), intent.saved_failure),
    };
    sqlx::query!(
        "UPDATE bursar.intent SET state = $2, saved_failure = $3, changed_at = bursar.now(),
                refusals = refusals + $4,
                looks = CASE WHEN $5 THEN looks + 1 WHEN $6 THEN 0 ELSE looks END,
                young_since = CASE WHEN $7 THEN bursar.now() WHEN $8 THEN NULL ELSE young_since END
         WHERE id = $1 AND state <> 'succeeded'",
        intent.id,
        state,
        saved,
        i32::from(news == News::Refused),
        news == News::NothingYet,
        matches!(news, News::NothingCame),
        news == News::NothingCame,
        news == News::LookFirst,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A call that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// Its row.
    pub id: i64,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
}

/// Writes down that a request is about to leave.
pub async fn begin_call(
    db: &mut PgConnection,
    subject: &str,
    intent: Option<&Intent>,
    job: &crate::job::Claimed,
    what: &str,
) -> Result<Begun, sqlx::Error> {
    sqlx::query_as!(
        Begun,
        "INSERT INTO bursar.call (subject, intent_id, job_id, attempt, what) VALUES ($1, $2, $3, $4, $5) RETURNING id, begun_at AS at",
        subject,
        intent.map(|intent| intent.id),
        job.id,
        job.attempt,
        what,
    )
    .fetch_one(db)
    .await
}

/// Adds what came back. A call without an answer was cut off by a crash, or is another worker's to settle.
pub async fn end_call(db: &mut PgConnection, call: i64, seen: &Seen) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bursar.call SET answered_at = bursar.now(), status = $2, request_id = $3, replayed = $4, answer = $5 WHERE id = $1",
        call,
        seen.status.map(i32::from),
        seen.request_id,
        seen.replayed,
        seen.reply.to_string().replace('\0', "\u{fffd}"),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds what a look came to, which may have taken several requests.
pub async fn note_call(db: &mut PgConnection, call: i64, answer: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE bursar.call SET answered_at = bursar.now(), answer = $2 WHERE id = $1", call, answer)
        .execute(db)
        .await?;
    Ok(())
}
