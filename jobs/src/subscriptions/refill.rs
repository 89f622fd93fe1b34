//! What a paid invoice refills, by its lines: for which time, which tiers and how much; or why nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    base::{calendar, credits::Credits},
    engine::job::JobError,
    subscriptions::{
        charged_share::{Charge, Months},
        invoice::{Invoice, Line},
        service_month,
    },
    terms::{Terms, Tier},
};

/// The key of what a trial grants: once per subscription and tier.
pub(crate) fn trial_key(subscription: &str, tier: &str) -> String {
    format!("trial:{subscription}:{tier}")
}

/// A time of service that an invoice pays for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Service {
    pub(crate) subscription: String,
    pub(crate) start: DateTime<Utc>,
}

/// What is paid for it, by the tier's name.
#[derive(Debug)]
pub(crate) struct Paid<'a> {
    pub(crate) end: DateTime<Utc>,
    /// How many months of service it pays for, where that does not follow from its length. Stripe cuts all items of a subscription alike.
    pub(crate) months: Option<Months>,
    /// What its tiers grant in a month, or another interval, that is paid in full.
    pub(crate) plan_value: i64,
    /// What they grant in its first month.
    pub(crate) grants: BTreeMap<String, (&'a Tier, Credits)>,
    pub(crate) trials: Vec<(&'a Tier, Credits)>,
}

impl Paid<'_> {
    /// The keys that it comes to, and how many millionths each.
    pub(crate) fn due(&self, service: &Service) -> Vec<(String, i64)> {
        let Service { subscription, start } = service;
        let trials = self.trials.iter().map(|(tier, credits)| (trial_key(subscription, &tier.name), credits.micros()));
        let months = self
            .grants
            .iter()
            .map(|(tier, (_, credits))| (service_month::refill_key(subscription, tier, *start), credits.micros()));
        trials.chain(months).collect()
    }
}

/// The refills that an invoice pays for; two lines for one tier and period are one refill of their sum.
pub(crate) fn refills<'a>(invoice: &Invoice, terms: &'a Terms) -> Result<BTreeMap<Service, Paid<'a>>, JobError> {
    let mut refills: BTreeMap<Service, Paid<'a>> = BTreeMap::new();
    for line in invoice.lines.iter().filter(|line| !line.proration && line.of_item && line.quantity != 0) {
        let Some(tier) = line.price.as_deref().and_then(|price| terms.tier_of_price(price)) else { continue };
        let is_trial = line.amount < 0 || line.amount == 0 && !tier.refill.free;
        if is_trial && !tier.refill.trial.is_positive() {
            continue;
        }
        let (Some(subscription), Some(start)) = (line.subscription.clone(), line.start) else {
            return Err(JobError::Dead(format!(
                "a line of {} sells the tier {} but says no subscription or period",
                invoice.id, tier.name
            )));
        };
        let end = line.end.filter(|end| *end > start).or_else(|| calendar::month(start, 1)).unwrap_or(start);
        let paid = refills.entry(Service { subscription, start }).or_insert_with(|| Paid {
            end,
            months: None,
            plan_value: 0,
            grants: BTreeMap::new(),
            trials: Vec::new(),
        });
        paid.end = paid.end.max(end);
        let uncountable = || {
            JobError::Dead(format!("{} of the tier {} on {} cannot be counted", line.quantity, tier.name, invoice.id))
        };
        let sum = |one: i64, other: i64| one.checked_add(other).ok_or_else(uncountable);
        if is_trial {
            let credits = tier.refill.trial.times(line.quantity).filter(|c| c.is_positive()).ok_or_else(uncountable)?;
            paid.trials.push((tier, credits));
            continue;
        }
        let (months, days) = match invoice.charge(line) {
            Charge::Whole { days } => (None, days),
            Charge::Part { months, days } => (Some(months), days),
            Charge::Unknown => return Err(JobError::Dead(open_price(line, tier, &invoice.id))),
        };
        let plan = tier.grants(line.quantity, days).filter(|c| c.is_positive()).ok_or_else(uncountable)?.micros();
        // Without months of its own, the first is granted in full.
        let count = if calendar::is_longer_than_a_month(start, end) { 2 } else { 1 };
        let value = months.map_or(Some(plan), |months| months.share(plan, 0, count)).ok_or_else(uncountable)?;
        if value == 0 {
            continue;
        }
        paid.months = paid.months.or(months);
        paid.plan_value = sum(paid.plan_value, plan)?;
        let (_, credits) = paid.grants.entry(tier.name.clone()).or_insert((tier, Credits::ZERO));
        *credits = Credits::from_micros(sum(credits.micros(), value)?);
    }
    Ok(refills)
}

/// Why it is not known what a line charges a part of, though Stripe was asked.
fn open_price(line: &Line, tier: &Tier, invoice: &str) -> String {
    let price = line.price.as_deref().unwrap_or("its price");
    format!(
        "{invoice} charges a part of {price}, and Stripe says no single full price of it (is it tiered, or in another currency?): \
         decide what part of {} was paid for, grant that with `bursar credits grant USER CREDITS --key reconcile:{invoice} --why '…'`, then cancel this job",
        tier.name
    )
}

/// What to do about a price that was paid for and sells no tier, and what comes of it.
pub(crate) fn advice(price: &str, then: &str, leave: &str) -> String {
    format!(
        "if it is to sell one, add it to that tier's prices (STRIPE_PRICE_…), then {then}: that grants the tier's credits for what was \
         paid. If it is charged by use, add it to `[meters.SKILL] prices`, then {then}. If {price} sells something else, grant nothing: \
         {leave}"
    )
}

fn is_metered(line: &Line, terms: &Terms) -> bool {
    line.metered || line.price.as_deref().is_some_and(|price| terms.is_metered(price))
}

/// A price that a subscription was paid for, where none of the invoice's prices sells a tier of ours.
pub(crate) fn paid_without_tier<'a>(invoice: &'a Invoice, terms: &Terms) -> Option<&'a str> {
    let sells = |line: &Line| line.price.as_deref().is_some_and(|price| terms.tier_of_price(price).is_some());
    if invoice.lines.iter().any(sells) {
        return None;
    }
    let paid = |line: &&Line| {
        line.subscription.is_some() && line.of_item && !line.proration && line.amount > 0 && !is_metered(line, terms)
    };
    invoice.lines.iter().filter(paid).find_map(|line| line.price.as_deref())
}

/// Why an invoice refills nothing.
pub(crate) fn nothing_to_refill(invoice: &Invoice, terms: &Terms) -> String {
    let sells = |line: &&Line| line.price.as_deref().is_some_and(|price| terms.tier_of_price(price).is_some());
    let is_item = |line: &&Line| line.of_item && line.price.is_some();
    match invoice.lines.iter().find(|line| sells(line) && line.of_item).or_else(|| invoice.lines.iter().find(sells)) {
        Some(line) if !line.of_item => {
            "a line that is not for a subscription's item sells no tier, whatever its price".into()
        }
        Some(line) if line.proration => "only proration lines: a plan change, not a refill".into(),
        Some(line) if line.quantity == 0 => "a quantity of 0: the line for the tier sells none of it".into(),
        Some(_) => {
            "a trial: the line for the tier costs nothing (a tier at price 0 says so: `[tiers.NAME] free = true`)"
                .into()
        }
        None if invoice.lines.iter().any(|line| is_metered(line, terms)) => {
            "a metered price: use is charged by it, and nothing is granted".into()
        }
        None => {
            let prices: Vec<&str> = invoice.lines.iter().filter_map(|line| line.price.as_deref()).collect();
            let what = if invoice.lines.iter().any(|line| is_item(&line)) {
                "no line sells a tier of this deployment"
            } else {
                "no line is for a subscription's item, and only such a line sells a tier"
            };
            format!("not ours: {what} (prices: {})", prices.join(", "))
        }
    }
}
