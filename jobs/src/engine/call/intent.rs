//! Intents and the calls made under them, as the database keeps them.

use bursar_stripe::{Request, Seen};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use crate::engine::call::machine::{Matter, State};

/// The committed decision to make one call.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Its row.
    pub id: i64,
    /// What the request goes under.
    pub key: String,
    /// The bytes.
    pub request: Request,
    /// Of the parameters.
    pub fingerprint: String,
    /// How it stands.
    pub matter: Matter,
    /// A request of it was to leave, and no answer was seen.
    pub lost: bool,
    /// One left within the last hour, and nothing certain came back: it may still be executed.
    pub under_way: bool,
    /// Nothing has changed about it for an hour, longer than a request can be under way.
    pub rested: bool,
}

/// The newest intent of a subject, locked.
pub async fn newest(db: &mut PgConnection, subject: &str) -> Result<Option<Intent>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT id, generation, idempotency_key, request AS "request: Json<Request>", fingerprint, state,
                  coalesce(bursar.is_young(young_since), false) AS "young!", saved_failure, look_first, refusals, looks, raise_after_look,
                  EXISTS (SELECT FROM bursar.call c WHERE c.subject = i.subject AND c.intent_id = i.id AND c.what = 'send'
                            AND c.answered_at IS NULL) AS "lost!",
                  EXISTS (SELECT FROM bursar.call c WHERE c.subject = i.subject AND c.intent_id = i.id AND c.what = 'send'
                            AND (c.status IS NULL OR c.status NOT BETWEEN 200 AND 299 AND c.status NOT BETWEEN 400 AND 499)
                            AND c.begun_at > (SELECT bursar.now()) - interval '1 hour') AS "under_way!",
                  changed_at < (SELECT bursar.now()) - interval '1 hour' AS "rested!"
           FROM bursar.intent i WHERE subject = $1 ORDER BY generation DESC LIMIT 1 FOR UPDATE"#,
        subject
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state = State::parse(&row.state).ok_or_else(|| {
        sqlx::Error::Decode(format!("an intent is {}, which this version does not know", row.state).into())
    })?;
    Ok(Some(Intent {
        id: row.id,
        key: row.idempotency_key,
        request: row.request.0,
        fingerprint: row.fingerprint,
        matter: Matter {
            generation: row.generation,
            state,
            young: row.young,
            saved_failure: row.saved_failure,
            look_first: row.look_first,
            refusals: row.refusals,
            looks: row.looks,
            raise_after_look: row.raise_after_look,
        },
        lost: row.lost,
        under_way: row.under_way,
        rested: row.rested,
    }))
}

/// Whether a key that was first used then is surely still kept by Stripe.
pub async fn is_young(db: &mut PgConnection, since: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT bursar.is_young($1) AS "young!""#, since).fetch_one(db).await
}

/// Makes the intent of a generation. Its key counts from `since`, when the matter began by anyone's word: a database that was restored
/// knows nothing of a first use. One that is not young must look before it sends.
pub async fn make(
    db: &mut PgConnection,
    subject: &str,
    matter: Matter,
    request: &Request,
    since: DateTime<Utc>,
) -> Result<Intent, sqlx::Error> {
    let key = bursar_stripe::idempotency_key(subject, matter.generation.unsigned_abs());
    let fingerprint = request.fingerprint();
    let id = sqlx::query_scalar!(
        r#"INSERT INTO bursar.intent (subject, generation, idempotency_key, request, fingerprint, young_since)
           VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN least($7, bursar.now()) END)
           RETURNING id"#,
        subject,
        matter.generation,
        key,
        Json(request) as _,
        fingerprint,
        matter.young,
        since,
    )
    .fetch_one(db)
    .await?;
    Ok(Intent { id, key, request: request.clone(), fingerprint, matter, lost: false, under_way: false, rested: false })
}

/// Writes how an intent stands now, where that is another than before.
pub async fn write(db: &mut PgConnection, intent: &Intent, now: Matter) -> Result<Intent, sqlx::Error> {
    if now != intent.matter {
        // Not its age: that is the clock's.
        sqlx::query!(
            "UPDATE bursar.intent SET state = $2, saved_failure = $3, look_first = $4, refusals = $5, looks = $6, raise_after_look = $7,
                    changed_at = bursar.now()
             WHERE id = $1 AND state <> 'succeeded'",
            intent.id,
            now.state.name(),
            now.saved_failure,
            now.look_first,
            now.refusals,
            now.looks,
            now.raise_after_look,
        )
        .execute(db)
        .await?;
    }
    Ok(Intent { matter: now, ..intent.clone() })
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
    job: &crate::engine::job::Claimed,
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
    sqlx::query!(
        "UPDATE bursar.call SET answered_at = bursar.now(), answer = $2 WHERE id = $1",
        call,
        answer.replace('\0', "\u{fffd}")
    )
    .execute(db)
    .await?;
    Ok(())
}
