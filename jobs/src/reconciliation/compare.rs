//! Judging what was put down, or a page of our own tables; and what is asked for next.
//!
//! The facts are read under the numbers of the page alone; what they come to is decided where they are read, object by object, by functions
//! that know neither a clock nor Stripe. A session is judged last, for what it is worth follows from the terms.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    engine::{
        job::{Effects, Job, JobError, NewJob, Pure},
        kind::{Kind, RECONCILE_COMPARE},
    },
    notifications::notify_team::NotifyTeam,
    reconciliation::{
        MOST_ASKED, Phase, Repair, Run, Step, asked,
        change::Change,
        entry::Entry,
        finding::Finding,
        grants::{self, Sold},
        money_back, months, payouts, transfers,
    },
    terms::Terms,
};

/// Judges one page.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compare {
    /// The step that read it, and where the list goes on.
    step: Step,
    /// Whether it is what was asked for one by one.
    asked: bool,
}

impl Job for Compare {
    const KIND: Kind = RECONCILE_COMPARE;
}

/// What a page came to, as far as it is known without the terms.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// What differs.
    pub findings: Vec<Finding>,
    /// What must be asked for one by one.
    pub ask: Vec<String>,
    /// Where a page of our own ended, if there is more.
    pub after: Option<String>,
}

impl From<Vec<Finding>> for Judged {
    fn from(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::default() }
    }
}

/// The run, and what its page came to.
#[derive(Debug)]
pub(crate) struct Facts {
    run: Option<Run>,
    judged: Judged,
    sold: Option<Sold>,
    /// Findings of this run so far, that are open.
    found: i64,
}

impl Pure for Compare {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let mut all = Vec::with_capacity(jobs.len());
        for job in jobs {
            all.push(job.facts(&mut *db).await?);
        }
        Ok(all)
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        let Some(run) = &facts.run else {
            return Err(JobError::Dead(format!("there is no run {}, or its page is gone", self.step.run)));
        };
        if run.state != "running" {
            return Ok(Effects::skip(format!("{} is {}", run.id, run.state)));
        }
        let mut findings = facts.judged.findings.clone();
        findings.extend(facts.sold.iter().flat_map(|sold| sold.judge(terms)));
        let mut step = self.step.clone();
        if step.phase.list().is_none() && !self.asked {
            (step.more, step.after) = (facts.judged.after.is_some(), facts.judged.after.clone());
        }
        let mut effects = Effects::done();
        let mut ask = facts.judged.ask.clone();
        if self.asked {
            // What did not fit into one job.
            ask.extend(step.ask.drain(..).skip(MOST_ASKED));
        }
        let next = if ask.is_empty() { step.following() } else { Some(step.asking(ask).read()) };
        let so_far = facts.found + i64::try_from(findings.len()).unwrap_or(i64::MAX);
        if !findings.is_empty() {
            let month = run.from.format("%Y-%m").to_string();
            let findings = findings.into_iter().map(|finding| finding.of_month(&month)).collect();
            effects.changes.push(Change::Found { run: run.id.clone(), findings }.into());
        }
        if let Some(next) = next {
            let phase = Change::Phase { run: run.id.clone(), phase: self.step.phase.word() };
            effects.changes.push(phase.into());
            effects.follow_ups.push(next);
            return Ok(effects);
        }
        if run.repair_by.is_some() && so_far > 0 {
            let phase = Change::Phase { run: run.id.clone(), phase: "repairs" };
            effects.changes.push(phase.into());
            effects.follow_ups.push(Repair::after(&run.id, 0));
        } else {
            effects.changes.push(Change::End { run: run.id.clone() }.into());
        }
        effects.follow_ups.extend(told(run, so_far));
        Ok(effects)
    }
}

/// The team is told of what the calendar's own run found; whoever asks by hand sees it.
fn told(run: &Run, found: i64) -> Option<NewJob> {
    if run.asked_by != "schedule" || found == 0 {
        return None;
    }
    let data = json!({
        "run": run.id, "month": run.from.format("%Y-%m").to_string(), "findings": found,
        "show": format!("bursar reconcile show {}", run.id),
    });
    Some(NotifyTeam::of("reconciliation.found", &format!("reconcile:{}", run.id), &data, None))
}

impl Compare {
    async fn facts(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        let mut facts = Facts { run: None, judged: Judged::default(), sold: None, found: 0 };
        let Some(run) = Run::load(&mut *db, &self.step.run).await? else { return Ok(facts) };
        facts.found = sqlx::query_scalar!(
            r#"SELECT count(*) AS "found!" FROM bursar.finding WHERE run = $1 AND state = 'open'"#,
            run.id
        )
        .fetch_one(&mut *db)
        .await?;
        if run.state == "running" {
            let after = self.step.after.as_deref();
            match (self.step.phase, self.asked) {
                (Phase::Grants, false) => facts.judged = grants::page(db, &run, after).await?,
                (Phase::Payouts, false) => facts.judged = payouts::page(db, &run, after).await?,
                (Phase::Months, false) => facts.judged = months::page(db, &run, after).await?,
                (Phase::Stuck, false) => facts.judged = payouts::stuck(db, after).await?,
                _ => {
                    let Some(entries) = self.entries(&mut *db).await? else { return Ok(facts) };
                    self.judge(db, &run, entries, &mut facts).await?;
                }
            }
        }
        facts.run = Some(run);
        Ok(facts)
    }

    /// What the step before this one put down.
    async fn entries(&self, db: &mut PgConnection) -> Result<Option<Vec<Entry>>, sqlx::Error> {
        let page = sqlx::query_scalar!(
            "SELECT entries FROM bursar.reconcile_page WHERE run = $1 AND step = $2",
            self.step.run,
            self.step.nth
        )
        .fetch_optional(db)
        .await?;
        let does_not_read = |error: serde_json::Error| sqlx::Error::Protocol(format!("a page does not read: {error}"));
        page.map(|page: Value| serde_json::from_value(page).map_err(does_not_read)).transpose()
    }

    async fn judge(
        &self,
        db: &mut PgConnection,
        run: &Run,
        entries: Vec<Entry>,
        facts: &mut Facts,
    ) -> Result<(), sqlx::Error> {
        let (mut invoices, mut sessions, mut charges, mut backs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut sent, mut returned, mut answers, mut told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Invoice(invoice) => invoices.push(invoice),
                Entry::Session(session) => sessions.push(session),
                Entry::Charge(charge) => charges.push(charge),
                Entry::Refund(back) | Entry::Dispute(back) => backs.push(back),
                Entry::Transfer(transfer) => sent.push(transfer),
                Entry::Reversal(reversal) => returned.push(reversal),
                Entry::Told(charge) => told.push(*charge),
                Entry::There { .. } => {}
                Entry::Missing { id, why } => answers.push((id, why)),
            }
        }
        let judged = &mut facts.judged;
        judged.findings.extend(grants::invoices(db, run, &invoices).await?);
        facts.sold = if sessions.is_empty() { None } else { Some(Sold::gather(db, run, sessions).await?) };
        judged.ask.extend(money_back::of_charges(db, &charges).await?);
        let (findings, ask) = money_back::known(db, &backs, self.step.phase).await?;
        judged.findings.extend(findings);
        judged.ask.extend(ask);
        judged.findings.extend(money_back::told(db, run, &told).await?);
        judged.findings.extend(transfers::sent(db, &sent).await?);
        judged.findings.extend(transfers::returned(db, &returned).await?);
        judged.findings.extend(asked::missing(db, run, self.step.phase, &answers).await?);
        Ok(())
    }
}
