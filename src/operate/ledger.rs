//! `bursar ledger verify`: the books, recomputed from the postings.

use clap::Subcommand;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::{Failure, Screen};

/// What can be asked of the books.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Recompute every balance from the postings, and check what must hold between postings, accounts and payouts.
    #[command(after_help = "Safe beside live traffic: it reads one moment of the database and writes nothing.\n\n\
                            Example:\n  bursar ledger verify --json")]
    Verify,
}

/// Does what was asked.
pub(super) async fn run(asked: Ledger, db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    match asked {
        Ledger::Verify => verify(db, screen).await,
    }
}

/// What was counted and what was wrong, under the names that programs rely on.
#[derive(Serialize)]
struct Verdict {
    postings: i64,
    accounts: i64,
    violations: Vec<Violation>,
}

/// Something in the books that must not be.
#[derive(Serialize)]
struct Violation {
    kind: String,
    /// The account, posting or payout that it is about.
    subject: String,
    detail: String,
}

async fn verify(db: &mut PgConnection, screen: &Screen) -> Result<(), Failure> {
    // One snapshot for all statements: live traffic goes on beside it, and is not seen in part.
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let counted = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM bursar.posting) AS "postings!", (SELECT count(*) FROM bursar.account) AS "accounts!""#
    )
    .fetch_one(&mut *tx)
    .await?;
    let violations = sqlx::query_file_as!(Violation, "src/operate/verify.sql").fetch_all(&mut *tx).await?;
    tx.commit().await?;

    let wrong = violations.len();
    let verdict = Verdict { postings: counted.postings, accounts: counted.accounts, violations };
    let sentence = format!("{} postings over {} accounts", verdict.postings, verdict.accounts);
    if screen.is_json() {
        screen.object(&verdict)?;
    } else if wrong == 0 {
        screen.line(&format!("{sentence}: the books agree"))?;
    } else {
        screen.rows(&verdict.violations, &["violation", "subject", "detail"], |v| {
            vec![v.kind.clone(), v.subject.clone(), v.detail.clone()]
        })?;
    }
    if wrong > 0 {
        return Err(Failure::refused(
            format!("{sentence}: {wrong} violations"),
            "postings are never changed: find out what wrote these, keep a backup, and undo by reversals",
        ));
    }
    Ok(())
}
