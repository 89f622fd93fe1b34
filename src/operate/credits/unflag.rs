//! `bursar credits unflag`: an operator has looked at a dispute, and takes its flag from the user.

use bursar_jobs::desk::flags::{self, Unflag};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::operate::{Failure, Screen, values::at_keyboard};

#[derive(Serialize)]
struct Unflagged<'a> {
    user_id: &'a str,
    source: &'a str,
}

pub(super) async fn run(
    db: &mut PgConnection,
    screen: &Screen,
    user: &str,
    dispute: &str,
    why: &str,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let flags = format!("bursar credits balance {user} shows what flags there are");
    match flags::unflag(&mut tx, &at_keyboard(), user, dispute, why).await? {
        Unflag::Done(_) => tx.commit().await?,
        Unflag::NoSuch => {
            let hint = format!("{flags}; a second subscription is ended at Stripe");
            return Err(Failure::not_found(format!("{user} has no dispute {dispute}"), hint));
        }
        Unflag::Not(status) => {
            return Err(Failure::refused(format!("{dispute} is {status} and flags nobody"), flags));
        }
    }
    let sentence = format!(
        "{user} is not flagged for {dispute} any more; credits stay as they are, and what becomes of it next flags again"
    );
    screen.done(&Unflagged { user_id: user, source: dispute }, &sentence)?;
    Ok(())
}
