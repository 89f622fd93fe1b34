//! All domains.

use crate::{
    clawbacks, customers, dunning, engine::domain::Domain, event_gaps, payouts, receivers, reconciliation, schedules,
    selling, subscriptions, usage,
};

/// All domains, in the order in which the changes of a batch are made.
pub const DOMAINS: &[Domain] = &[
    customers::DOMAIN,
    payouts::DOMAIN,
    receivers::DOMAIN,
    selling::DOMAIN,
    subscriptions::DOMAIN,
    dunning::DOMAIN,
    clawbacks::DOMAIN,
    schedules::DOMAIN,
    usage::DOMAIN,
    event_gaps::DOMAIN,
    reconciliation::DOMAIN,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::change::AnyChange;

    /// A change of each domain.
    fn one_of_each() -> Vec<(&'static str, AnyChange)> {
        let text = String::new;
        vec![
            ("customers", customers::change::Change::OpenAccount { user_id: text() }.into()),
            ("payouts", payouts::change::Change::ReleaseHeld { user_id: text() }.into()),
            ("receivers", receivers::change::Change::DeactivateReceiver { user_id: text() }.into()),
            ("selling", selling::change::Change::Expired { session: text() }.into()),
            (
                "subscriptions",
                subscriptions::change::Change::EndMonth {
                    subscription_id: text(),
                    start_at: chrono::DateTime::UNIX_EPOCH,
                    end_at: chrono::DateTime::UNIX_EPOCH,
                }
                .into(),
            ),
            ("dunning", dunning::change::Change::CardAsked { invoice: text() }.into()),
            ("clawbacks", clawbacks::change::Change::NoteRefundLetter { id: text() }.into()),
            ("schedules", schedules::change::Change::TickSchedule { name: text(), next_at: None, fired: None }.into()),
            ("usage", usage::change::Change::MoveUsage { report: 1, state: "sent", reason: None }.into()),
            ("event_gaps", event_gaps::change::Change::EndWalk { walk: chrono::DateTime::UNIX_EPOCH }.into()),
            ("reconciliation", reconciliation::change::Change::End { run: text() }.into()),
        ]
    }

    #[test]
    fn each_domain_takes_its_own_changes_and_no_others() {
        let changes = one_of_each();
        assert_eq!(changes.len(), DOMAINS.len(), "a domain's enum is missing above");
        for (name, change) in changes {
            let takers: Vec<&str> =
                DOMAINS.iter().filter(|domain| (domain.takes)(&change)).map(|domain| domain.name).collect();
            assert_eq!(takers, [name], "{change:?}");
        }
    }
}
