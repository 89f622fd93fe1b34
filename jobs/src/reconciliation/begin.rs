//! Beginning a run: by hand, or each month by the calendar.

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    base::{audit::Via, clock},
    engine::{
        enqueue,
        job::{Effects, Job, JobError, Pure},
        kind::{Kind, RECONCILE},
    },
    reconciliation::{Step, bounds, change::Change},
    terms::Terms,
};

/// A run that was begun, or was running already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Its id.
    pub run: String,
    /// Whether it was running already.
    pub joined: bool,
}

/// Begins to compare a month, or joins the run that does, in the caller's transaction. Who wants repaired what can be repaired came by
/// `repair`.
pub async fn begin(
    db: &mut PgConnection,
    month: NaiveDate,
    who: &str,
    repair: Option<Via>,
) -> Result<Begun, sqlx::Error> {
    // One whose job is dead, cancelled or gone goes on no more: another begins anew.
    sqlx::query!(
        "UPDATE bursar.reconciliation r SET state = 'stopped', reason = 'no job of it is left', ended_at = bursar.now()
         WHERE r.month = $1 AND r.state = 'running'
           AND NOT EXISTS (SELECT FROM bursar.job j WHERE j.kind IN ('reconcile_read', 'reconcile_compare', 'reconcile_repair')
                           AND j.key LIKE r.id || ':%' AND j.state IN ('ready', 'scheduled', 'running'))",
        month
    )
    .execute(&mut *db)
    .await?;
    let row = sqlx::query!(
        r#"SELECT id AS "run!", joined AS "joined!" FROM bursar.begin_reconciliation($1, $2, $3)"#,
        month,
        who,
        repair.map(|_| who)
    )
    .fetch_one(&mut *db)
    .await?;
    if let Some(via) = repair {
        // Who was first to want repairs is who the audit names.
        sqlx::query!(
            "UPDATE bursar.reconciliation SET repair_via = $3 WHERE id = $1 AND repair_by = $2 AND repair_via IS NULL",
            row.run,
            who,
            via.word()
        )
        .execute(&mut *db)
        .await?;
    }
    enqueue::enqueue(db, &[Step::first(&row.run).read()]).await?;
    Ok(Begun { run: row.run, joined: row.joined })
}

/// The last month that is over at a moment, by its first day.
pub fn last_month(now: DateTime<Utc>) -> NaiveDate {
    let first = now.date_naive().with_day(1).unwrap_or_default();
    first.checked_sub_months(Months::new(1)).unwrap_or(first)
}

/// The month that a text names, `2026-10`, by its first day, if it is over at a moment.
pub fn month_of(text: &str, now: DateTime<Utc>) -> Result<NaiveDate, String> {
    let month = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d")
        .ok()
        .filter(|day| text.len() == 7 && (2010..3000).contains(&day.year()))
        .ok_or_else(|| format!("{text:?} is no month: write it like 2026-10"))?;
    let (_, before) = bounds(month);
    if before > now {
        return Err(format!("{text} is not over: it ends on {}, in UTC", before.format("%Y-%m-%d")));
    }
    Ok(month)
}

/// Begins to compare the month before a tick of its schedule.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reconcile {
    /// When it was fired; a month that is named goes before it.
    tick: DateTime<Utc>,
    /// `2026-10`.
    month: Option<String>,
}

impl Job for Reconcile {
    const KIND: Kind = RECONCILE;
}

impl Pure for Reconcile {
    /// Business time.
    type Facts = DateTime<Utc>;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Self::Facts>, sqlx::Error> {
        Ok(vec![clock::business(db).await?; jobs.len()])
    }

    fn run(&self, now: &Self::Facts, terms: &Terms) -> Result<Effects, JobError> {
        if !terms.stripe_on {
            return Ok(Effects::skip("Stripe is off: there is nothing to compare with"));
        }
        let month = match &self.month {
            Some(text) => month_of(text, *now).map_err(JobError::Dead)?,
            None => last_month(self.tick),
        };
        Ok(Effects { changes: vec![Change::Begin { month }.into()], ..Effects::done() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_month_that_is_over_can_be_compared() {
        let now = "2026-11-02T05:00:00Z".parse().unwrap();
        assert_eq!(month_of("2026-10", now).unwrap(), last_month(now));
        for bad in ["2026-11", "2027-01", "2026-13", "2026-1", "October", "2026-10-01", "", "99999-01", "٢٠٢٦-10"] {
            assert!(month_of(bad, now).is_err(), "{bad}");
        }
        assert_eq!(last_month("2026-01-01T00:00:00Z".parse().unwrap()).to_string(), "2025-12-01");
        assert!(month_of("2026-10", "2026-11-01T00:00:00Z".parse().unwrap()).is_ok());
    }
}
