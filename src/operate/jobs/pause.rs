//! `bursar jobs pause` and `resume`: whether workers claim jobs of a kind.

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::operate::{Failure, Screen, values::at_keyboard};

#[derive(Serialize)]
struct Paused<'a> {
    kind: &'a str,
    paused: bool,
}

pub(super) async fn pause(
    db: &mut PgConnection,
    screen: &Screen,
    kind: &str,
    why: Option<&str>,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    sqlx::query!("INSERT INTO bursar.paused_kind (kind) VALUES ($1) ON CONFLICT DO NOTHING", kind)
        .execute(&mut *tx)
        .await?;
    at_keyboard().note(&mut *tx, "jobs.pause", kind, (None, None), why).await?;
    tx.commit().await?;
    screen.done(
        &Paused { kind, paused: true },
        &format!("{kind} is paused: no worker starts one until: bursar jobs resume {kind}"),
    )?;
    Ok(())
}

pub(super) async fn resume(
    db: &mut PgConnection,
    screen: &Screen,
    kind: &str,
    why: Option<&str>,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    // A notice goes out at commit: a woken worker finds the kind resumed.
    sqlx::query!("WITH gone AS (DELETE FROM bursar.paused_kind WHERE kind = $1) SELECT bursar.wake()", kind)
        .fetch_one(&mut *tx)
        .await?;
    at_keyboard().note(&mut *tx, "jobs.resume", kind, (None, None), why).await?;
    tx.commit().await?;
    screen.done(&Paused { kind, paused: false }, &format!("{kind} is not paused: workers start its jobs"))?;
    Ok(())
}
