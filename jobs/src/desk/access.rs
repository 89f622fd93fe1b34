//! Who may do what: named tokens with a role, and the sessions that browsers get for them.
//!
//! Rules
//! - A token is 32 random bytes; the database keeps its SHA-256, which is enough for what cannot be guessed. It is shown once.
//! - A session ends twelve hours after it began, two hours after it was last used, and with its token.
//! - A *viewer* looks, an *operator* changes what moves no money out, a *payer* releases money too.

use chrono::{DateTime, Utc};
use rand::Rng;
use ring::digest;
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};

/// What somebody may do; each may all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Retry, cancel, replay, pause.
    Operator,
    /// Release money.
    Payer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Payer];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Payer => "payer",
        }
    }

    /// The role of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// A token, without what is secret.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What whoever has it may do.
    pub role: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Somebody who is let in.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The token's name.
    pub who: String,
    /// What they may do.
    pub role: Role,
    /// What their forms carry; empty for a bearer of a token, who has no forms.
    pub csrf: String,
}

/// Makes a token; its text, which is not kept. None: the name is taken.
pub async fn create(db: impl PgExecutor<'_>, name: &str, role: Role, by: &str) -> Result<Option<String>, sqlx::Error> {
    let text = format!("bursar_{}", random());
    let made = sqlx::query!(
        "INSERT INTO bursar.token (name, role, digest, created_by) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING",
        name,
        role.word(),
        digest_of(&text),
        by,
    )
    .execute(db)
    .await?;
    Ok((made.rows_affected() == 1).then_some(text))
}

/// All tokens, the revoked ones too.
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<Token>, sqlx::Error> {
    sqlx::query_as!(
        Token,
        "SELECT name, role, created_by, created_at, last_used_at, revoked_at FROM bursar.token ORDER BY created_at, id"
    )
    .fetch_all(db)
    .await
}

/// Revokes a token, with its sessions; its role's word. None: there is none of that name.
pub async fn revoke(db: impl PgExecutor<'_>, name: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "WITH revoked AS (UPDATE bursar.token SET revoked_at = clock_timestamp() WHERE name = $1 AND revoked_at IS NULL RETURNING id, role),
              ended AS (DELETE FROM bursar.session s USING revoked r WHERE s.token_id = r.id)
         SELECT role FROM revoked",
        name
    )
    .fetch_optional(db)
    .await
}

/// Whose token this is.
pub async fn bearer(db: impl PgExecutor<'_>, text: &str) -> Result<Option<Signed>, sqlx::Error> {
    let row = sqlx::query!(
        "UPDATE bursar.token SET last_used_at = clock_timestamp()
         WHERE digest = $1 AND revoked_at IS NULL RETURNING name, role",
        digest_of(text)
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| signed(row.name, &row.role, String::new())).transpose()
}

/// A session for a token's text: the secret of its cookie. None: no such token.
pub async fn sign_in(db: &mut PgConnection, text: &str) -> Result<Option<String>, sqlx::Error> {
    let secret = random();
    let made = sqlx::query!(
        "WITH known AS (UPDATE bursar.token SET last_used_at = clock_timestamp() WHERE digest = $1 AND revoked_at IS NULL RETURNING id),
              old AS (DELETE FROM bursar.session WHERE seen_at < clock_timestamp() - interval '1 day')
         INSERT INTO bursar.session (digest, token_id, csrf) SELECT $2, id, $3 FROM known",
        digest_of(text),
        digest_of(&secret),
        random(),
    )
    .execute(db)
    .await?;
    Ok((made.rows_affected() == 1).then_some(secret))
}

/// Whose session this is, if it is one that lives. A page that keeps itself current is nobody who uses it: the session idles.
pub async fn session(db: impl PgExecutor<'_>, secret: &str, is_used: bool) -> Result<Option<Signed>, sqlx::Error> {
    let row = sqlx::query!(
        "WITH seen AS (
             UPDATE bursar.session SET seen_at = clock_timestamp()
             WHERE digest = $1 AND $2 AND seen_at < clock_timestamp() - interval '1 minute' AND seen_at > clock_timestamp() - interval '2 hours'
         )
         SELECT t.name, t.role, s.csrf FROM bursar.session s JOIN bursar.token t ON t.id = s.token_id
         WHERE s.digest = $1 AND t.revoked_at IS NULL AND s.created_at > clock_timestamp() - interval '12 hours'
           AND s.seen_at > clock_timestamp() - interval '2 hours'",
        digest_of(secret),
        is_used
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| signed(row.name, &row.role, row.csrf)).transpose()
}

/// Ends a session.
pub async fn sign_out(db: impl PgExecutor<'_>, secret: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM bursar.session WHERE digest = $1", digest_of(secret)).execute(db).await.map(drop)
}

fn signed(who: String, role: &str, csrf: String) -> Result<Signed, sqlx::Error> {
    let role = Role::of(role).ok_or_else(|| sqlx::Error::Protocol(format!("bursar.token says {role:?}")))?;
    Ok(Signed { who, role, csrf })
}

fn digest_of(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

/// 32 random bytes, in hexadecimal.
fn random() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().fold(String::with_capacity(64), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payer_may_what_an_operator_may_and_an_operator_what_a_viewer_may() {
        assert!(Role::Payer > Role::Operator && Role::Operator > Role::Viewer);
        assert_eq!(Role::ALL.map(|role| Role::of(role.word())), Role::ALL.map(Some));
    }

    #[test]
    fn no_two_secrets_are_alike() {
        assert_ne!(random(), random());
        assert_eq!(random().len(), 64);
    }
}
