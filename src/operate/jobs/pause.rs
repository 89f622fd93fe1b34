//! `bursar jobs pause` and `resume`: whether workers claim jobs of a kind.

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::operate::{Failure, Screen, values::at_keyboard};

#[derive(Serialize)]
struct Paused<'a> {
    kind: &'a str,
    paused: bool,
}

/// The state that the audit shows; what is so already is no act.
fn said(paused: bool) -> Value {
    json!({ "paused": paused })
}

pub(super) async fn pause(
    db: &mut PgConnection,
    screen: &Screen,
    kind: &str,
    why: Option<&str>,
) -> Result<(), Failure> {
    let mut tx = db.begin().await?;
    let paused = sqlx::query!("INSERT INTO bursar.paused_kind (kind) VALUES ($1) ON CONFLICT DO NOTHING", kind)
        .execute(&mut *tx)
        .await?;
    if paused.rows_affected() == 1 {
        at_keyboard().note(&mut *tx, "jobs.pause", kind, (Some(said(false)), Some(said(true))), why).await?;
    }
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
    let resumed = sqlx::query_scalar!(
        r#"WITH gone AS (DELETE FROM bursar.paused_kind WHERE kind = $1 RETURNING kind)
           SELECT EXISTS (SELECT FROM gone) AS "gone!" FROM (SELECT bursar.wake()) woken"#,
        kind
    )
    .fetch_one(&mut *tx)
    .await?;
    if resumed {
        at_keyboard().note(&mut *tx, "jobs.resume", kind, (Some(said(true)), Some(said(false))), why).await?;
    }
    tx.commit().await?;
    screen.done(&Paused { kind, paused: false }, &format!("{kind} is not paused: workers start its jobs"))?;
    Ok(())
}
