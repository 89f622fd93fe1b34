//! `bursar tokens`: who may sign in to the console, and as what.

use bursar_jobs::desk::access::{self, Role};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{
    Failure, Screen,
    values::{self, at_keyboard},
};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Make a token. Its text is shown this once; the database keeps a digest.
    #[command(after_help = "Example:\n  bursar tokens create anna --role payer\n\n\
                            Roles: a viewer looks, an operator retries, cancels, replays and pauses, a payer releases money too.")]
    Create {
        /// Whose it is: a name that the audit will show.
        #[arg(value_parser = name)]
        name: String,
        /// What it lets do: viewer, operator or payer.
        #[arg(long, value_parser = role)]
        role: Role,
    },
    /// List tokens, the revoked ones too.
    #[command(after_help = "Example:\n  bursar tokens list")]
    List,
    /// Revoke a token: it signs nobody in any more, and its sessions end.
    #[command(after_help = "Example:\n  bursar tokens revoke anna")]
    Revoke {
        /// Its name.
        #[arg(value_parser = values::word)]
        name: String,
    },
}

#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    role: Role,
    token: &'a str,
}

fn role(word: &str) -> Result<Role, String> {
    Role::of(word).ok_or_else(|| format!("is one of {}", Role::ALL.map(Role::word).join(", ")))
}

fn name(text: &str) -> Result<String, String> {
    let sane = (1..=100).contains(&text.chars().count()) && text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    sane.then(|| text.to_owned()).ok_or_else(|| "has 1 to 100 characters without spaces".to_owned())
}

/// Does what was asked.
pub(super) async fn run(asked: Tokens, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Tokens::Create { name, role } => {
            let mut tx = db.begin().await?;
            let by = at_keyboard();
            let Some(token) = access::create(&mut *tx, &name, role, &by.who).await? else {
                let hint = format!("take another name, or first: bursar tokens revoke {name}");
                return Err(Failure::refused(format!("there is a token {name}"), hint));
            };
            by.note(&mut *tx, "tokens.create", &name, (None, Some(json!({ "role": role }))), None).await?;
            tx.commit().await?;
            screen.done(&Created { name: &name, role, token: &token }, &token)?;
            if !screen.is_json() {
                screen.note(&format!("the token of {name} ({}): it is shown this once", role.word()));
            }
            Ok(())
        }
        Tokens::List => {
            let tokens = access::list(&mut *db).await?;
            screen.rows(&tokens, &["name", "role", "made", "by", "used", "revoked"], |token| {
                let when = |at| screen.away(at);
                vec![
                    token.name.clone(),
                    token.role.clone(),
                    when(token.created_at),
                    token.created_by.clone(),
                    token.last_used_at.map_or_else(|| "never".into(), when),
                    token.revoked_at.map(when).unwrap_or_default(),
                ]
            })?;
            if tokens.is_empty() {
                screen.note("no tokens yet: bursar tokens create NAME --role operator");
            }
            Ok(())
        }
        Tokens::Revoke { name } => {
            let mut tx = db.begin().await?;
            let Some(role) = access::revoke(&mut *tx, &name).await? else {
                return Err(Failure::not_found(
                    format!("there is no token {name}"),
                    "list them with: bursar tokens list",
                ));
            };
            let states = (Some(json!({ "role": role })), Some(json!({ "revoked": true })));
            at_keyboard().note(&mut *tx, "tokens.revoke", &name, states, None).await?;
            tx.commit().await?;
            Ok(screen.done(&json!({ "name": name, "revoked": true }), &format!("{name} signs nobody in any more"))?)
        }
    }
}
