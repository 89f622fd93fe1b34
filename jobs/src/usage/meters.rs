//! Metered skills: which are, kept in the database, so that an application that shares it counts what it spends in its own transaction.

use sqlx::{PgExecutor, PgPool};

use crate::{base::credits::Credits, ledger::Spent};

/// A skill whose use is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// The skill.
    pub skill: String,
    /// The meter's `event_name` at Stripe.
    pub event_name: String,
    /// What is reported: how often, or how much.
    pub value: MeterValue,
}

/// What is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeterValue {
    /// How often it was used.
    Count,
    /// The credits that it cost.
    Credits,
}

impl MeterValue {
    /// As settings and the database say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Credits => "credits",
        }
    }
}

/// Makes the database say which skills are metered. What was spent on one before it was is never reported; what was spent on one that no
/// longer is, and is in no report yet, still is.
pub async fn declare(pool: &PgPool, meters: &[Meter]) -> Result<(), sqlx::Error> {
    let skills: Vec<String> = meters.iter().map(|meter| meter.skill.clone()).collect();
    let events: Vec<String> = meters.iter().map(|meter| meter.event_name.clone()).collect();
    let values: Vec<String> = meters.iter().map(|meter| meter.value.word().to_owned()).collect();
    let mut tx = crate::base::db::begin(pool).await?;
    sqlx::query!("UPDATE bursar.meter SET active = false WHERE active AND skill <> ALL ($1)", &skills)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "INSERT INTO bursar.meter AS m (skill, event_name, value) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
         ON CONFLICT (skill) DO UPDATE SET event_name = excluded.event_name, value = excluded.value, active = true,
             since = CASE WHEN m.active THEN m.since ELSE bursar.now() END
         WHERE (m.event_name, m.value, m.active) IS DISTINCT FROM (excluded.event_name, excluded.value, true)",
        &skills,
        &events,
        &values
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Takes credits for a use of a skill, once per `(user, key)`, and counts it where the skill is metered. The one caller of
/// `bursar.spend_skill`.
pub async fn spend_skill(
    db: impl PgExecutor<'_>,
    user: &str,
    skill: &str,
    amount: Credits,
    key: &str,
    reference: Option<&str>,
) -> Result<Spent, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT status AS "status!", posting_id, (balance * 1000000.0)::bigint AS balance
           FROM bursar.spend_skill($1, $2, $3::bigint::numeric * 0.000001, $4, $5)"#,
        user,
        skill,
        amount.micros(),
        key,
        reference
    )
    .fetch_one(db)
    .await?;
    let balance = Credits::from_micros(row.balance.unwrap_or_default());
    match (row.status.as_str(), row.posting_id) {
        ("done", Some(posting)) => Ok(Spent::Done { posting, balance }),
        ("done", None) => Ok(Spent::Passed { balance }),
        ("short", _) => Ok(Spent::Short { balance }),
        ("conflict", Some(posting)) => Ok(Spent::Conflict { posting }),
        ("invalid", _) => Ok(Spent::Invalid),
        (other, _) => Err(sqlx::Error::Protocol(format!("bursar.spend_skill answered {other:?}"))),
    }
}
