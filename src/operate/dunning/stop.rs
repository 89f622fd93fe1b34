//! `bursar dunning stop`: an operator ends a case. It is written down in the same transaction.

use bursar_jobs::desk::dunning::{self, Stop};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::no_such;
use crate::operate::{Failure, Screen, values::at_keyboard};

#[derive(Serialize)]
struct Stopped<'a> {
    invoice_id: &'a str,
    was: &'a str,
    state: &'a str,
}

/// Stops it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, invoice: &str, why: &str) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    match dunning::stop(&mut tx, &at_keyboard(), invoice, why).await? {
        Stop::Stopped => {}
        Stop::NoSuch => return Err(no_such(invoice)),
        Stop::Not(was) => {
            let hint = format!("see it with: bursar dunning show {invoice}");
            return Err(Failure::refused(
                format!("the case of {invoice} is {was}: there is nothing left to stop"),
                hint,
            ));
        }
    }
    tx.commit().await?;
    let answer = Stopped { invoice_id: invoice, was: "open", state: "stopped" };
    screen.done(
        &answer,
        &format!("stopped the case of {invoice}: nothing more is sent or tried; the invoice stays open"),
    )?;
    Ok(())
}
