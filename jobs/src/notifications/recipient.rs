//! Letters, as the database keeps them: what each attempt sends, and what became of it.
//!
//! | state | what is known | what the next attempt sends |
//! |---|---|---|
//! | `open` | it may have left, and nothing came back: a worker ended in between, or is at it | the same bytes |
//! | `unknown` | it left at least once, and the answer was lost | the same bytes |
//! | `waiting` | surely not taken yet | what it says now, which is the same unless something was mended |
//! | `refused` | refused for good; an operator had the job tried again | what it says now |
//! | `sent` | taken | nothing, ever |

use bursar_letters::{Came, Sealed};
use sqlx::PgConnection;

use crate::engine::{call::intent, job::Claimed};

/// A letter that was written before.
#[derive(Debug)]
pub(crate) enum Known {
    /// It was taken; by which job.
    Sent(String),
    /// A copy may be on its way: these bytes, and no others.
    Fixed(Sealed),
    /// There is none that counts.
    Unwritten,
}

/// Looks for a letter by its key, and holds it.
pub(crate) async fn find(db: &mut PgConnection, key: &str) -> Result<Known, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT job_id, message_id, sender, recipient, bytes, state FROM bursar.letter WHERE key = $1 FOR UPDATE",
        key
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(Known::Unwritten) };
    Ok(match (row.state.as_str(), row.sender, row.recipient, row.bytes) {
        ("sent", ..) => Known::Sent(row.job_id),
        ("open" | "unknown", Some(from), Some(to), Some(bytes)) => {
            Known::Fixed(Sealed { message_id: row.message_id, from, to, bytes, subject: None })
        }
        _ => Known::Unwritten,
    })
}

/// Commits to sending: what leaves, and that it may have left from now on. One that may have left before stays so, whatever comes back.
pub(crate) async fn intend(
    db: &mut PgConnection,
    key: &str,
    claimed: &Claimed,
    (letter, user): (&str, Option<&str>),
    sealed: &Sealed,
) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO bursar.letter AS l (key, job_id, letter, user_id, message_id, sender, recipient, bytes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (key) DO UPDATE SET job_id = excluded.job_id, sender = excluded.sender, recipient = excluded.recipient,
             bytes = excluded.bytes, message_id = excluded.message_id, changed_at = bursar.now(),
             state = CASE WHEN l.state IN ('open', 'unknown') THEN 'unknown' ELSE 'open' END
         WHERE l.state <> 'sent'",
        key,
        claimed.id,
        letter,
        user,
        sealed.message_id,
        sealed.from,
        sealed.to,
        sealed.bytes,
    )
    .execute(&mut *db)
    .await?;
    Ok(intent::begin_call(db, &subject(key), None, claimed, "send").await?.id)
}

/// What the calls of a letter are kept under.
pub(crate) fn subject(key: &str) -> String {
    format!("letter:{key}")
}

/// Records what came back. A letter that was taken keeps neither its words nor its address.
pub(crate) async fn record(db: &mut PgConnection, key: &str, call: i64, came: &Came) -> Result<(), sqlx::Error> {
    let (state, words) = match came {
        Came::Taken(words) => ("sent", words),
        Came::Refused(words) => ("refused", words),
        Came::NotYet { why, .. } => ("waiting", why),
        Came::Unknown(why) => ("unknown", why),
    };
    intent::note_call(&mut *db, call, &words.replace('\0', "\u{fffd}")).await?;
    sqlx::query!(
        "UPDATE bursar.letter
         SET state = CASE WHEN $2 = 'waiting' AND state = 'unknown' THEN 'unknown' ELSE $2 END, changed_at = bursar.now(),
             sender = CASE WHEN $2 <> 'sent' THEN sender END, recipient = CASE WHEN $2 <> 'sent' THEN recipient END,
             bytes = CASE WHEN $2 <> 'sent' THEN bytes END
         WHERE key = $1 AND state <> 'sent'",
        key,
        state,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What is known of whom a letter goes to.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// `cus_…`, if there is one.
    pub customer: Option<String>,
    /// Its mail address, the newest.
    pub address: Option<String>,
    /// Whether Stripe itself said what the address is, or that there is none.
    pub asked: bool,
    /// The languages it prefers, the dearest first.
    pub locales: Vec<String>,
    /// The tier that it subscribes to.
    pub tier: Option<String>,
}

/// Reads what is known of a user: of several customers, one that has an address, and of those the one that was asked for last.
pub(crate) async fn reader(db: &mut PgConnection, user: &str) -> Result<Reader, sqlx::Error> {
    let customer = sqlx::query!(
        r#"SELECT id, nullif(btrim(email), '') AS email, email_asked_at, locales FROM bursar.customer
           WHERE user_id = $1 AND gone_at IS NULL
           ORDER BY (nullif(btrim(email), '') IS NULL), email_asked_at DESC NULLS LAST, linked_at DESC, id LIMIT 1"#,
        user
    )
    .fetch_optional(&mut *db)
    .await?;
    let tier = sqlx::query_scalar!(
        "SELECT tier FROM bursar.subscription WHERE user_id = $1 AND tier IS NOT NULL ORDER BY (ended_at IS NOT NULL), asked_at DESC LIMIT 1",
        user
    )
    .fetch_optional(db)
    .await?
    .flatten();
    let Some(row) = customer else { return Ok(Reader { tier, ..Reader::default() }) };
    let locales = row.locales.iter().flat_map(|all| all.split(',')).map(str::to_owned).collect();
    Ok(Reader { customer: Some(row.id), address: row.email, asked: row.email_asked_at.is_some(), locales, tier })
}
