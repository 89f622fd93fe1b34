//! The account at Stripe: whether it answers, as whom, by which clock, in which version. What it sells and sends is in other files.

use std::time::Duration;

use bursar_jobs::{
    STRIPE_API_VERSION, Stripe as Client, StripeConfig, StripeLooked, StripeReply, StripeSeen,
    base::{clock, money},
    stripe_setup::{self as setup, Balance, Platform},
    terms::Package,
};
use chrono::{DateTime, Utc};
use tokio::sync::oneshot::Receiver;

use crate::{
    boot::Mode,
    config::{Settings, Stripe},
};

use super::{check::Check, endpoints, permissions, prices, selling};

/// For one question. Two rounds of them must fit into a topic.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds that two clocks may differ. Stripe's signatures hold for 300.
pub(super) const CLOCK_WARN: f64 = 5.0;
pub(super) const CLOCK_FAIL: f64 = 60.0;

/// Every check that needs an answer of Stripe's.
const NEED_STRIPE: [&str; 11] = [
    "stripe.mode",
    "stripe.clock",
    "stripe.version",
    "stripe.account",
    "stripe.balance",
    "stripe.permissions",
    "stripe.prices",
    "stripe.webhook",
    "stripe.connect_webhook",
    "stripe.portal",
    "stripe.tax",
];

pub(super) async fn look(settings: &Settings, url: Option<&str>, on_sale: Receiver<Vec<Package>>) -> Vec<Check> {
    const NAME: &str = "stripe";
    let Ok(stripe) = settings.stripe() else { return without(None, "the key cannot be read") };
    let Some(key) = stripe.secret_key.as_ref().filter(|_| stripe.is_on()) else {
        return without(Some(Check::skip(NAME, "Stripe is off here")), "Stripe is off here");
    };
    let config = StripeConfig { timeout: PATIENCE, ..StripeConfig::new(&stripe.api_base, key.expose()) };
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(error) => {
            let check = Check::fail(NAME, error.to_string(), "Mend STRIPE_API_BASE and STRIPE_SECRET_KEY.");
            return without(Some(check), "there is no way to Stripe");
        }
    };
    let began = clock::now();
    let first = client.look(&setup::balance(), true).await;
    let ended = clock::now();
    let read = first.seen.clone().read::<Balance>();
    if let Some(check) = read.as_ref().err().and_then(|seen| silent(seen, &stripe)) {
        return without(Some(check), "Stripe does not answer, or not to this key");
    }
    let balance = read.ok();
    let mut checks = vec![Check::ok(NAME, format!("{} answers", stripe.api_base))];
    checks.push(mode(&stripe, balance.as_ref()));
    checks.push(skew(&first, began, ended));
    let own = setup::account();
    let (account, permissions, prices, endpoints, portal, tax) = tokio::join!(
        client.look(&own, false),
        permissions::look(&client, &stripe),
        prices::look(&client, settings, on_sale),
        endpoints::look(&client, &stripe, settings, url),
        selling::portal(&client),
        selling::tax(&client, settings),
    );
    checks.push(version(&first, &account));
    checks.push(platform(&stripe, account.seen));
    checks.push(funds(settings, &first.seen, balance.as_ref()));
    checks.push(permissions);
    checks.extend(prices);
    checks.extend(endpoints);
    checks.extend([portal, tax]);
    checks
}

/// What was seen instead, and everything that waits for it.
fn without(first: Option<Check>, why: &str) -> Vec<Check> {
    first.into_iter().chain(NEED_STRIPE.map(|name| Check::skip(name, why))).collect()
}

/// Why nothing more is to be asked, if that is so. A key may not see the balance, and there may be too many questions; whoever refuses the
/// question itself is not Stripe, or does not speak our version.
fn silent(seen: &StripeSeen, stripe: &Stripe) -> Option<Check> {
    const NAME: &str = "stripe";
    match &seen.reply {
        StripeReply::Unauthorized { .. } if seen.status == Some(401) => {
            let remedy = "Copy the key again from Stripe's dashboard into STRIPE_SECRET_KEY: it was revoked, or is of another account.";
            Some(Check::fail(NAME, format!("refuses the key: {seen}"), remedy))
        }
        StripeReply::Success(_)
        | StripeReply::Unauthorized { .. }
        | StripeReply::Limited { .. }
        | StripeReply::Busy { .. } => None,
        StripeReply::Rejected { .. }
        | StripeReply::Unknown { .. }
        | StripeReply::NotSent { .. }
        | StripeReply::KeyMisuse { .. } => {
            let remedy =
                "Check STRIPE_API_BASE (leave it out for Stripe's own), and whether this machine may reach it.";
            Some(Check::fail(NAME, format!("{} does not answer as Stripe: {seen}", stripe.api_base), remedy))
        }
    }
}

fn mode(stripe: &Stripe, balance: Option<&Balance>) -> Check {
    const NAME: &str = "stripe.mode";
    let mode = Mode::of(stripe);
    if let Some(livemode) = balance.and_then(|balance| balance.livemode).filter(|live| *live != stripe.livemode) {
        let answers = if livemode { "live" } else { "test" };
        let seen = format!("the key says {}, and the answers are of {answers} mode", mode.said());
        return Check::fail(NAME, seen, "Check what stands at STRIPE_API_BASE: it is not what the key is for.");
    }
    match mode {
        Mode::Live => Check::ok(NAME, mode.said()),
        Mode::Test => {
            Check::warn(NAME, format!("{}: no money moves", mode.said()), "Use a live key (rk_live_…) to go live.")
        }
        Mode::Sandbox => {
            let remedy = "Unset STRIPE_API_BASE and use a key of Stripe's to leave the sandbox, with another database.";
            Check::warn(NAME, format!("{}: no money moves", mode.said()), remedy)
        }
    }
}

/// `Date` has whole seconds, and was written between our question and its answer.
fn skew(looked: &StripeLooked, began: DateTime<Utc>, ended: DateTime<Utc>) -> Check {
    const NAME: &str = "stripe.clock";
    let Some(date) = looked.date else { return Check::skip(NAME, "the answer had no Date") };
    let off = off(date, began.timestamp_millis(), ended.timestamp_millis());
    let seen = format!(
        "this machine's clock is {:.0} s {} Stripe's",
        off.abs(),
        if off > 0.0 { "ahead of" } else { "behind" }
    );
    let remedy = "Keep this machine's time by NTP: from 300 s on every signature of Stripe's is refused.";
    match off.abs() {
        off if off > CLOCK_FAIL => Check::fail(NAME, seen, remedy),
        off if off > CLOCK_WARN => Check::warn(NAME, seen, remedy),
        _ => Check::ok(NAME, "as Stripe's"),
    }
}

/// How many seconds our clock is ahead of a second that was written between two of our milliseconds; 0 where it may be right.
fn off(date: i64, began: i64, ended: i64) -> f64 {
    let (from, to) = (date * 1000, date * 1000 + 999);
    let millis = if began > to { began - to } else { (ended - from).min(0) };
    #[expect(clippy::cast_precision_loss, reason = "a difference of clocks is far below 2^52 milliseconds")]
    let millis = millis as f64;
    millis / 1000.0
}

fn version(ours: &StripeLooked, own: &StripeLooked) -> Check {
    const NAME: &str = "stripe.version";
    let account = own.version.as_deref().unwrap_or("not known");
    let seen =
        format!("we ask in {STRIPE_API_VERSION}; the account's own is {account}, and events in either layout are read");
    match ours.version.as_deref() {
        Some(version) if version != STRIPE_API_VERSION => Check::fail(
            NAME,
            format!("we ask in {STRIPE_API_VERSION}, and are answered in {version}"),
            "Look at what stands between here and Stripe: the header Stripe-Version does not arrive.",
        ),
        Some(_) => Check::ok(NAME, seen),
        None => Check::skip(NAME, "the answer did not say its version"),
    }
}

fn platform(stripe: &Stripe, seen: StripeSeen) -> Check {
    const NAME: &str = "stripe.account";
    let account: Platform = match seen.read() {
        Ok(account) => account,
        Err(seen) => return unseen(NAME, &seen),
    };
    let yes = |may: Option<bool>| may != Some(false);
    match (yes(account.charges_enabled), yes(account.payouts_enabled)) {
        (true, true) => Check::ok(NAME, format!("{} takes payments", account.id)),
        (charges, _) => {
            let lacks = if charges { "is not paid out to its bank" } else { "takes no payments" };
            let remedy = "Finish the activation of the account in Stripe's dashboard.";
            let seen = format!("{} {lacks}", account.id);
            if stripe.livemode { Check::fail(NAME, seen, remedy) } else { Check::warn(NAME, seen, remedy) }
        }
    }
}

fn funds(settings: &Settings, seen: &StripeSeen, balance: Option<&Balance>) -> Check {
    const NAME: &str = "stripe.balance";
    let currency = match settings.terms() {
        Ok(terms) => terms.payout.currency,
        Err(error) => return Check::setting(NAME, &error),
    };
    let Some(balance) = balance else { return unseen(NAME, seen) };
    let remedy =
        format!("Take payments in {currency}, top the balance up, or set `[payout] currency`: payouts wait for it.");
    match balance.available.iter().find(|funds| funds.currency == currency) {
        None => Check::fail(NAME, format!("there is none in {currency}, which payouts are sent in"), remedy),
        Some(funds) if funds.amount <= 0 => {
            Check::warn(NAME, format!("{} can be sent", money::format(funds.amount, &currency)), remedy)
        }
        Some(funds) => Check::ok(NAME, format!("{} can be sent", money::format(funds.amount, &currency))),
    }
}

/// Something that could not be looked at: the key may not, or no answer came.
pub(super) fn unseen(name: &str, seen: &StripeSeen) -> Check {
    let remedy = match permissions::lacking(seen) {
        Some(lacking) => format!("Let the restricted key have {lacking}, or look at it in Stripe's dashboard."),
        None => "Try again; Stripe's status page says whether it is them.".to_owned(),
    };
    Check::warn(name, format!("could not be looked at: {seen}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_no_rounding_explains() {
        for (began, ended, seconds) in [
            (9_900, 10_100, 0.0),
            (10_999, 11_500, 0.0),
            (9_000, 10_000, 0.0),
            (16_999, 17_000, 6.0),
            (3_000, 4_000, -6.0),
        ] {
            assert!((off(10, began, ended) - seconds).abs() < 0.001, "{began} {ended}");
        }
    }
}
