//! What the key may do: a restricted one enough and not too much. Only what reads is tried; a GET that is refused says what lacks.

use bursar_jobs::{Stripe as Client, StripeReply, StripeSeen, stripe_setup as setup};
use tokio::task::JoinSet;

use crate::config::Stripe;

use super::check::{Check, masked};

/// What jobs read of Stripe, directly or in what they make there.
const NEEDED: &[&str] = &[
    "/v1/accounts",
    "/v1/balance_transactions",
    "/v1/charges",
    "/v1/checkout/sessions",
    "/v1/credit_notes",
    "/v1/customers",
    "/v1/disputes",
    "/v1/events",
    "/v1/invoice_payments",
    "/v1/invoiceitems",
    "/v1/invoices",
    "/v1/payment_intents",
    "/v1/prices",
    "/v1/refunds",
    "/v1/subscription_schedules",
    "/v1/subscriptions",
    "/v1/transfers",
];
/// What no job ever asks for: who may do this may do more than bursar.
const TOO_MUCH: &[&str] = &["/v1/payouts", "/v1/topups", "/v1/files", "/v1/issuing/cards"];

const NAME: &str = "stripe.permissions";

pub(super) async fn look(client: &Client, stripe: &Stripe) -> Check {
    let Some(key) = &stripe.secret_key else { return Check::skip(NAME, "Stripe is off here") };
    if !key.expose().starts_with("rk_") {
        let seen = format!("{} may do everything", masked(key));
        let remedy = "Make a restricted key (rk_…) for bursar alone in Stripe's dashboard, with what the README lists.";
        return if stripe.livemode { Check::warn(NAME, seen, remedy) } else { Check::ok(NAME, seen) };
    }
    let mut tried = JoinSet::new();
    for path in NEEDED.iter().copied() {
        let client = client.clone();
        tried.spawn(async move { (path, true, client.look(&setup::first_of(path), true).await.seen) });
    }
    for path in TOO_MUCH.iter().copied() {
        let client = client.clone();
        tried.spawn(async move { (path, false, client.look(&setup::first_of(path), true).await.seen) });
    }
    let (mut lacks, mut extra, mut untried) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(one) = tried.join_next().await {
        let Ok((path, needed, seen)) = one else { continue };
        let what = path.trim_start_matches("/v1/");
        match (&seen.reply, needed) {
            (StripeReply::Unauthorized { .. }, true) => {
                lacks.push(lacking(&seen).map_or_else(|| what.to_owned(), |lacking| format!("{what} ({lacking})")));
            }
            (StripeReply::Success(_), false) => extra.push(what),
            // Whoever knows no such path says nothing of the key.
            (StripeReply::Rejected { .. }, true) if seen.status == Some(404) => untried.push(what),
            // Stripe refused the question, and not us. And what is too much and was not answered is not there.
            (StripeReply::Success(_) | StripeReply::Rejected { .. }, true) | (_, false) => {}
            (_, true) => untried.push(what),
        }
    }
    lacks.sort_unstable();
    extra.sort_unstable();
    untried.sort_unstable();
    verdict(&lacks, &extra, &untried)
}

fn verdict(lacks: &[String], extra: &[&str], untried: &[&str]) -> Check {
    if !lacks.is_empty() {
        let seen = format!("a restricted key that may not read {}", lacks.join(", "));
        return Check::fail(
            NAME,
            seen,
            "Add these to the key in Stripe's dashboard: jobs that need them would end dead.",
        );
    }
    if !extra.is_empty() {
        let seen = format!("a restricted key that also reads {}", extra.join(", "));
        return Check::warn(
            NAME,
            seen,
            "Take these from the key in Stripe's dashboard: no job of bursar's needs them.",
        );
    }
    if !untried.is_empty() {
        return Check::warn(NAME, format!("no answer about {}", untried.join(", ")), "Try again in a minute.");
    }
    Check::ok(NAME, "a restricted key that reads what is needed; what it may write is not tried, for that would write")
}

/// The permission that a refusal asks for, in Stripe's word: `rak_charge_read`.
pub(super) fn lacking(seen: &StripeSeen) -> Option<String> {
    let StripeReply::Unauthorized { error } = &seen.reply else { return None };
    let words = error.message.as_deref()?;
    let at = words.find("rak_")?;
    let word: String = words[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_fails_and_too_much_warns() {
        use super::super::Verdict;
        assert_eq!(verdict(&["charges".into()], &["payouts"], &[]).result, Verdict::Fail);
        assert_eq!(verdict(&[], &["payouts"], &[]).result, Verdict::Warn);
        assert_eq!(verdict(&[], &[], &["events"]).result, Verdict::Warn);
        assert_eq!(verdict(&[], &[], &[]).result, Verdict::Ok);
    }
}
