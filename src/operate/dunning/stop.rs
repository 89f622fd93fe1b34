//! `bursar dunning stop`: an operator ends a case. It is written down in the same transaction.

use bursar_jobs::{
    audit::{self, Act, Via},
    effects::{self, Change, Dunning},
    job::Effects,
};
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::no_such;
use crate::operate::{Failure, Screen, values::operator};

#[derive(Serialize)]
struct Stopped<'a> {
    invoice_id: &'a str,
    was: &'a str,
    state: &'a str,
}

/// Stops it.
pub(super) async fn run(db: &mut PgConnection, screen: &Screen, invoice: &str, why: &str) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let was = sqlx::query_scalar!("SELECT state FROM bursar.dunning_case WHERE invoice_id = $1 FOR UPDATE", invoice)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| no_such(invoice))?;
    if was != "open" {
        let hint = format!("see it with: bursar dunning show {invoice}");
        return Err(Failure::refused(format!("the case of {invoice} is {was}: there is nothing left to stop"), hint));
    }
    let who = operator();
    let close =
        Dunning::Close { invoice: invoice.to_owned(), state: "stopped", reason: format!("stopped by {who}: {why}") };
    let effects = Effects { changes: vec![Change::Dunning(close)], ..Effects::done() };
    effects::apply(&mut tx, &[effects]).await?;
    let act = Act {
        who: &who,
        via: Via::Cli,
        what: "dunning.stop",
        subject: invoice,
        before: Some(json!({ "state": was })),
        after: Some(json!({ "state": "stopped" })),
        why: Some(why),
    };
    audit::note(&mut *tx, act).await?;
    tx.commit().await?;
    let answer = Stopped { invoice_id: invoice, was: &was, state: "stopped" };
    screen.done(
        &answer,
        &format!("stopped the case of {invoice}: nothing more is sent or tried; the invoice stays open"),
    )?;
    Ok(())
}
