//! The inbox: where events are kept as they were received, and the one door through which they come in.

pub mod envelope;
pub mod event;
pub(crate) mod note_event;

use sqlx::PgExecutor;

use crate::{engine::kind, inbox::envelope::Envelope};

/// What became of an event that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Stored, and its job enqueued, in one transaction.
    New,
    /// Known before; nothing was done.
    Duplicate,
    /// One of the application's own events came under a known id with another body: nothing was done, and it must not be acknowledged.
    /// (Stripe's events are told by their id alone, for a redelivery need not be the same to the byte.)
    Conflict,
}

impl Received {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
        }
    }
}

/// Stores an event with its raw bytes and enqueues its job, in one statement and one commit.
/// Returns only once that commit is durable: an error means that nothing may be acknowledged.
pub async fn receive(db: impl PgExecutor<'_>, envelope: &Envelope, body: &[u8]) -> Result<Received, sqlx::Error> {
    let kind = kind::of_event(envelope);
    let received = sqlx::query_scalar!(
        r#"SELECT bursar.receive($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS "received!""#,
        envelope.source.as_str(),
        envelope.id,
        envelope.kind,
        envelope.created,
        envelope.livemode,
        envelope.api_version,
        envelope.account,
        envelope.object_id,
        body,
        kind.name,
        kind.max_attempts,
    )
    .fetch_one(db)
    .await?;
    match received.as_str() {
        "new" => Ok(Received::New),
        "duplicate" => Ok(Received::Duplicate),
        "conflict" => Ok(Received::Conflict),
        other => Err(sqlx::Error::Protocol(format!("bursar.receive answered {other:?}"))),
    }
}
