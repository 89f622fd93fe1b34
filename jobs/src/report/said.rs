//! The report in words: the same lines in a terminal and in a letter.

use super::{Payouts, Report, Revenue};
use crate::{base::money, notifications::send_email::moment};

/// How many disputes are named; the rest are counted.
const MOST_NAMED: usize = 5;

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name: a field of the letter.
    pub name: &'static str,
    /// What it is, in a few words.
    pub label: &'static str,
    /// With its unit; one line.
    pub value: String,
}

/// Figures that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// In order.
    pub lines: Vec<Line>,
}

impl Report {
    /// All of it, in the order of reading.
    pub fn said(&self) -> Vec<Section> {
        vec![self.money(), self.revenue(), self.dunning(), self.credits(), self.payouts(), self.to_do()]
    }

    fn money(&self) -> Section {
        let it = &self.payments;
        let rate = percent(it.success_percent.as_ref());
        let value = format!(
            "{rate} ({} paid, {} failed, {} failed {})",
            it.paid,
            it.failed,
            it.failed_attempts,
            if it.failed_attempts == 1 { "attempt" } else { "attempts" }
        );
        Section { title: "Payments", lines: vec![line("payment_success", "Payment success rate", value)] }
    }

    fn revenue(&self) -> Section {
        let each = |sign: &str, pick: fn(&Revenue) -> i64| {
            let said = |one: &Revenue| format!("{sign}{}", money::format(pick(one), &one.currency));
            joined(self.revenue.iter().filter(|one| sign.is_empty() || pick(one) != 0).map(said), "0")
        };
        let arpu = |one: &Revenue| one.arpu.map(|arpu| money::format(arpu, &one.currency));
        let churn = |lost: fn(&Revenue) -> (i64, Option<&String>)| {
            let said = |one: &Revenue| {
                let (users, rate) = lost(one);
                format!("{} ({users} of {}, {})", percent(rate), one.users_before, one.currency.to_ascii_uppercase())
            };
            joined(self.revenue.iter().map(said), "none")
        };
        let mut mrr = each("", |one| one.mrr);
        if self.without_amount > 0 {
            mrr = format!("{mrr}, and {} without a plain price", self.without_amount);
        }
        let lines = vec![
            line("mrr", "MRR", mrr),
            line("mrr_new", "New", each("+", |one| one.new)),
            line("mrr_returned", "Returned", each("+", |one| one.returned)),
            line("mrr_expansion", "Expansion", each("+", |one| one.expansion)),
            line("mrr_contraction", "Contraction", each("-", |one| one.contraction)),
            line("mrr_churn", "Churn", each("-", |one| one.churn)),
            line("arpu", "ARPU", joined(self.revenue.iter().filter_map(arpu), "none")),
            line("churn", "Users lost", churn(|one| (one.churned_users, one.churn_percent.as_ref()))),
            line(
                "churn_involuntary",
                "Lost by dunning",
                churn(|one| (one.involuntary_users, one.involuntary_percent.as_ref())),
            ),
        ];
        Section { title: "Recurring revenue, a month", lines }
    }

    fn dunning(&self) -> Section {
        let it = &self.dunning;
        let sums = joined(it.recovered_sums.iter().map(|sum| money::format(sum.amount, &sum.currency)), "");
        let recovered = if it.recovered == 0 { "none".to_owned() } else { format!("{} ({sums})", it.recovered) };
        let lines = vec![
            line("recovered", "Recovered", recovered),
            line("dunning", "Cases", format!("{} opened, {} ended unpaid, {} open now", it.opened, it.lost, it.open)),
        ];
        Section { title: "Dunning", lines }
    }

    fn credits(&self) -> Section {
        let it = &self.credits;
        let below =
            if it.below_zero.micros() == 0 { String::new() } else { format!(" (and {} below zero)", it.below_zero) };
        let lines = vec![
            line("credits_granted", "Granted", it.granted.to_string()),
            line("credits_taken_back", "Taken back", it.taken_back.to_string()),
            line("credits_spent", "Spent", it.spent.to_string()),
            line("credits_expired", "Expired", it.expired.to_string()),
            line("credits_outstanding", "Outstanding", format!("{}{below}", it.outstanding)),
        ];
        Section { title: "Credits", lines }
    }

    fn payouts(&self) -> Section {
        let each = |pick: fn(&Payouts) -> (i64, i64)| {
            let said = |one: &Payouts| {
                let (count, amount) = pick(one);
                (count > 0).then(|| format!("{count} ({})", money::format(amount, &one.currency)))
            };
            joined(self.payouts.iter().filter_map(said), "0")
        };
        let lines = vec![
            line("payouts_paid", "Paid", each(|one| (one.paid, one.paid_amount))),
            line("payouts_reversed", "Reversed", each(|one| (one.reversed, one.reversed_amount))),
            line("payouts_held", "Held now", each(|one| (one.held, one.held_amount))),
            line("payouts_unknown", "Unknown now", each(|one| (one.unknown, one.unknown_amount))),
            line("payouts_rejected", "Refused now", each(|one| (one.rejected, one.rejected_amount))),
        ];
        Section { title: "Payouts", lines }
    }

    fn to_do(&self) -> Section {
        let waiting = &self.disputes.waiting;
        let mut named: Vec<String> = waiting
            .iter()
            .take(MOST_NAMED)
            .map(|one| {
                let due =
                    one.due_by.map_or_else(|| "without a deadline".to_owned(), |at| format!("until {}", moment(at)));
                format!("{} {due} ({})", one.id, money::format(one.amount, &one.currency))
            })
            .collect();
        if waiting.len() > MOST_NAMED {
            named.push(format!("and {} more", waiting.len() - MOST_NAMED));
        }
        let dead: i64 = self.dead_jobs.iter().map(|one| one.count).sum();
        let kinds = joined(self.dead_jobs.iter().map(|one| format!("{} {}", one.count, one.kind)), "");
        let lines = vec![
            line("disputes_opened", "Disputes opened", self.disputes.opened.to_string()),
            line("disputes_waiting", "Disputes to answer", joined(named.into_iter(), "none")),
            line("dead_jobs", "Dead jobs", if dead == 0 { "none".to_owned() } else { format!("{dead} ({kinds})") }),
            line(
                "findings",
                "Open findings",
                if self.findings == 0 { "none".to_owned() } else { self.findings.to_string() },
            ),
        ];
        Section { title: "To see to", lines }
    }
}

fn line(name: &'static str, label: &'static str, value: String) -> Line {
    Line { name, label, value }
}

fn percent(percent: Option<&String>) -> String {
    percent.map_or_else(|| "none".to_owned(), |percent| format!("{percent} %"))
}

fn joined(values: impl Iterator<Item = String>, none: &str) -> String {
    let values: Vec<String> = values.collect();
    if values.is_empty() { none.to_owned() } else { values.join(", ") }
}
