//! What changes about a reconciliation.

use chrono::NaiveDate;
use serde_json::Value;

use crate::base::audit::Via;
use crate::engine::change;
use crate::inbox::envelope::Envelope;
use crate::reconciliation::finding::Finding;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The calendar wants a month compared.
    Begin {
        /// Its first day.
        month: NaiveDate,
    },
    /// A page was read.
    Page {
        /// The run.
        run: String,
        /// By which step.
        step: i64,
        /// Of what, for people.
        phase: &'static str,
        /// How many objects.
        objects: i64,
        /// What is to be judged of them.
        entries: Value,
        /// Which are there, and paid.
        seen: Vec<String>,
    },
    /// A page was judged.
    Found {
        /// The run.
        run: String,
        /// What differs.
        findings: Vec<Finding>,
    },
    /// It has come so far.
    Phase {
        /// The run.
        run: String,
        /// For people.
        phase: &'static str,
    },
    /// All was compared, and what was to be repaired is.
    End {
        /// The run.
        run: String,
    },
    /// It cannot go on.
    Stop {
        /// The run.
        run: String,
        /// Why, in words.
        why: String,
    },
    /// An event that never came.
    Hear {
        /// What is known of it.
        envelope: Box<Envelope>,
        /// As it is kept.
        body: Vec<u8>,
    },
    /// A payout that is looked for before anything can leave is let go.
    Release {
        /// The marketplace's job.
        job_id: String,
    },
    /// What closes a finding is under way.
    Repaired {
        /// The finding.
        finding: i64,
        /// What it is about.
        subject: String,
        /// What was done.
        how: String,
        /// Who wanted it.
        who: String,
        /// Which way they came.
        via: Via,
        /// Why.
        why: String,
    },
}

impl change::Change for Change {}
