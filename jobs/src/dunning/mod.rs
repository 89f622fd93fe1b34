//! Dunning: chasing a renewal whose payment failed, one case for each invoice.
//!
//! Rules
//! - Every step counts from the time of the first failure, by the event's word, and goes by the schedule that the case was opened with.
//! - A step is one for ever, by its row: its job asks Stripe how the invoice stands now, and acts by one call or one letter, or says why not.
//! - Where Stripe tries again by itself (`next_payment_attempt`) we do not; what came too late to be done in its turn is left out, so that
//!   nobody gets two letters, or two charges, at once.
//! - After a hard decline, or where the card's owner must authenticate, a card is asked for, once, and nothing is tried until another is
//!   there (Stripe: declines, hard declines; STRIPE.md 11).
//! - The final step acts once it is known that no try took the money, and never before a deadline that a letter named.
//! - Whatever ends the matter (paid, void, uncollectible, the subscription over, an operator) stands the rest down.

pub(crate) mod apply;
pub(crate) mod cancel_subscription;
pub(crate) mod case;
pub mod change;
pub(crate) mod close_dunning;
pub(crate) mod decide;
pub(crate) mod dunning_step;
pub(crate) mod letters;
pub(crate) mod open_dunning;
pub(crate) mod pause_subscription;
pub(crate) mod resume_subscription;
pub(crate) mod retry_invoice;

use crate::engine::domain::Domain;
pub use crate::terms::dunning::{Dunning, Final, MOST_DAYS, Schedule, Step, UnknownStep};

use bursar_stripe::invoices::Attempt;

/// What the engine knows of this domain.
pub const DOMAIN: Domain = Domain {
    apply: Some(|context| Box::pin(apply::apply(context))),
    react: Some(|context| Box::pin(apply::react(context))),
    ..Domain::of("dunning", |change| change.of::<change::Change>().is_some())
};

/// The declines after which the same card is not charged again (Stripe: declines, hard declines; STRIPE.md 11), in the words of `code`,
/// `decline_code` and a charge's `outcome`.
const HARD: &[&str] = &[
    "lost_card",
    "stolen_card",
    "pickup_card",
    "incorrect_number",
    "revocation_of_authorization",
    "revocation_of_all_authorizations",
    "authentication_required",
    "highest_risk_level",
    "payment_intent_authentication_failure",
    "invoice_payment_intent_requires_action",
];

/// Whether a try ended so that only the card's owner can help.
pub(crate) fn is_hard(attempt: &Attempt) -> bool {
    let words = [&attempt.code, &attempt.decline_code, &attempt.outcome];
    attempt.status == "requires_action" || words.into_iter().flatten().any(|word| HARD.contains(&word.as_str()))
}

/// What a try came to, in words.
pub(crate) fn said(attempt: &Attempt) -> String {
    if attempt.status == "requires_action" {
        return "its owner must authenticate it".to_owned();
    }
    let words = [&attempt.decline_code, &attempt.code, &attempt.outcome];
    words.into_iter().flatten().next().cloned().unwrap_or_else(|| attempt.status.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_declines_are_those_that_stripe_lists_and_no_others() {
        let by = |code: &str| Attempt { decline_code: Some(code.into()), ..Attempt::default() };
        for code in HARD {
            assert!(is_hard(&by(code)), "{code}");
        }
        for code in ["insufficient_funds", "generic_decline", "fraudulent", "try_again_later", "a_new_one"] {
            assert!(!is_hard(&by(code)), "{code}");
        }
        assert!(is_hard(&Attempt { status: "requires_action".into(), ..Attempt::default() }));
        let blocked = Attempt { outcome: Some("highest_risk_level".into()), ..by("fraudulent") };
        assert!(is_hard(&blocked), "what Radar stopped");
    }
}
