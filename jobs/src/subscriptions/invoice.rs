//! An invoice as both of Stripe's layouts tell it: before 2025-03-31.basil and since. What is read here is the same for either.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use bursar_stripe::Reference;

use crate::{
    base::{calendar, credits::Credits},
    inbox::event::Metadata,
    subscriptions::{
        change::PaidChange,
        charged_share::{self, Charge, Price},
    },
    terms::Terms,
};

/// What a refill must know of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// `in_…`
    pub id: String,
    /// `cus_…`
    pub customer: Option<String>,
    /// Whether it is paid, in whatever way: by card, by balance, out of band.
    pub paid: bool,
    /// `sub_…`, where it is a subscription's.
    pub subscription: Option<String>,
    /// The users that its metadata and its subscription's name.
    pub named: Vec<String>,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Whether it has lines that the event does not carry.
    pub has_more: bool,
    /// Which of its lines begin a time of service.
    begins: Begins,
    /// The prices that Stripe was asked for, by id.
    pub prices: BTreeMap<String, Price>,
}

/// What tells a line that begins a time of service from one that adjusts a time that was paid for: Stripe may call both prorations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Begins {
    /// Only a line that is no proration does.
    #[default]
    Plainly,
    /// All do: it is a subscription's first invoice.
    All,
    /// Those do that begin when its cycle ended, in seconds since 1970: what is adjusted lies before.
    From(i64),
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `sub_…`
    pub subscription: Option<String>,
    /// `price_…`
    pub price: Option<String>,
    /// Whether it is for a subscription's item. A set-up fee or another one-off price on a subscription's invoice is not.
    #[serde(default = "yes")]
    pub of_item: bool,
    /// Adjusts a period that was already paid: a plan change, not a refill.
    pub proration: bool,
    /// Minor units, before discounts and tax. Zero: a trial.
    pub amount: i64,
    /// How many of the price.
    pub quantity: i64,
    /// When the time that it pays for begins. An invoice's own period is another thing.
    pub start: Option<DateTime<Utc>>,
    /// When it ends.
    pub end: Option<DateTime<Utc>>,
    /// The user that its metadata names.
    pub user: Option<String>,
    /// Whether the line itself says that its price is charged by use. Since basil none does.
    #[serde(default)]
    pub metered: bool,
    /// Lower-case ISO code.
    #[serde(default)]
    pub currency: Option<String>,
    /// Minor units for one of it, as Stripe writes them; of a proration it may be those of the part.
    #[serde(default)]
    pub unit_amount: Option<String>,
    /// The whole price. Since basil no line has it.
    #[serde(default)]
    pub full_price: Option<Price>,
}

const fn yes() -> bool {
    true
}

impl Line {
    /// The days that it is for, where it is for whole ones.
    pub fn days(&self) -> Option<i64> {
        calendar::whole_days(self.start?, self.end?)
    }
}

/// One page of an invoice's lines.
#[derive(Debug)]
pub struct Lines {
    /// In order.
    pub all: Vec<Line>,
    /// The id of the last of them, where there are more.
    pub after: Option<String>,
    /// The id of the last of them.
    pub last: Option<String>,
}

impl Lines {
    /// Reads a page of an invoice's lines, as Stripe lists them.
    pub fn read(page: &serde_json::Value, of: &Invoice) -> Result<Self, serde_json::Error> {
        let wire = WireLines::deserialize(page)?;
        let last = wire.data.last().and_then(|line| line.id.clone());
        let after = last.clone().filter(|_| wire.has_more);
        let all =
            wire.data.into_iter().map(|line| Line::from_wire(line, of.subscription.as_deref(), of.begins)).collect();
        Ok(Self { all, after, last })
    }
}

impl Invoice {
    /// The users that it names anywhere: one, if all is well.
    pub fn users(&self) -> Vec<String> {
        let mut users: Vec<String> =
            self.named.iter().chain(self.lines.iter().filter_map(|line| line.user.as_ref())).cloned().collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// The subscriptions that it is for.
    pub fn subscriptions(&self) -> Vec<String> {
        let of_lines = self.lines.iter().filter_map(|line| line.subscription.clone());
        let mut all: Vec<String> = self.subscription.iter().cloned().chain(of_lines).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What one of its lines charges of the full price.
    pub(crate) fn charge(&self, line: &Line) -> Charge {
        charged_share::of(line, &self.prices)
    }

    /// A price that must be asked for, to know what its lines charge of it; `counts` says which prices matter.
    pub(crate) fn unknown_price(&self, counts: impl Fn(&str) -> bool) -> Option<&str> {
        let open = self.lines.iter().filter(|line| line.of_item && !line.proration && !line.metered && line.amount > 0);
        let mut open = open.filter(|line| line.quantity > 0 && self.charge(line) == Charge::Unknown);
        open.find_map(|line| line.price.as_deref().filter(|price| counts(price) && !self.prices.contains_key(*price)))
    }

    /// The changes of plans that it pays for: proration lines for a tier's price begin when the change counts from (Stripe: prorations).
    pub fn paid_changes(&self, terms: &Terms) -> Vec<PaidChange> {
        let mut changes: Vec<PaidChange> = Vec::new();
        for line in self.lines.iter().filter(|line| line.proration) {
            let tier = line.price.as_deref().and_then(|price| terms.tier_of_price(price));
            let (Some(tier), Some(subscription), Some(at)) = (tier, &line.subscription, line.start) else { continue };
            // What is left of the old plan is credited by a line below zero.
            let new = if line.amount > 0 { tier.credits.times(line.quantity) } else { None };
            let value = new.map_or(0, Credits::micros);
            match changes.iter_mut().find(|known| known.subscription_id == *subscription && known.at == at) {
                Some(known) => {
                    known.amount = known.amount.saturating_add(line.amount);
                    known.value = known.value.saturating_add(value);
                }
                None => changes.push(PaidChange {
                    subscription_id: subscription.clone(),
                    at,
                    invoice: self.id.clone(),
                    amount: line.amount,
                    value,
                }),
            }
        }
        changes
    }
}

impl<'de> Deserialize<'de> for Invoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(Self::from)
    }
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    customer: Option<Reference>,
    status: Option<String>,
    billing_reason: Option<String>,
    period_end: Option<i64>,
    metadata: Option<Metadata>,
    #[serde(default)]
    lines: WireLines,
    /// Since basil.
    parent: Option<Parent>,
    /// Before.
    paid: Option<bool>,
    subscription: Option<Reference>,
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Deserialize, Default)]
struct WireLines {
    #[serde(default)]
    data: Vec<WireLine>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Parent {
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Deserialize)]
struct SubscriptionDetails {
    subscription: Option<Reference>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct WireLine {
    id: Option<String>,
    #[serde(default)]
    amount: i64,
    currency: Option<String>,
    quantity: Option<i64>,
    period: Option<Period>,
    metadata: Option<Metadata>,
    /// Since basil.
    pricing: Option<Pricing>,
    parent: Option<LineParent>,
    /// Before.
    #[serde(rename = "type")]
    what: Option<String>,
    price: Option<WirePrice>,
    plan: Option<WirePrice>,
    proration: Option<bool>,
    subscription: Option<Reference>,
}

#[derive(Deserialize)]
struct Period {
    start: i64,
    end: Option<i64>,
}

/// A price or a plan: its id, or the whole.
#[derive(Deserialize)]
#[serde(untagged)]
enum WirePrice {
    Id(String),
    Whole(serde_json::Value),
}

impl WirePrice {
    fn is_metered(&self) -> bool {
        let Self::Whole(price) = self else { return false };
        price["recurring"]["usage_type"].as_str().or(price["usage_type"].as_str()) == Some("metered")
    }

    /// The whole of it, where that is a price.
    fn full(&self) -> Option<Price> {
        let Self::Whole(price) = self else { return None };
        Price::deserialize(price).ok()
    }

    fn into_id(self) -> Option<String> {
        match self {
            Self::Id(id) => Some(id),
            Self::Whole(price) => price["id"].as_str().map(str::to_owned),
        }
    }
}

#[derive(Deserialize)]
struct Pricing {
    price_details: Option<PriceDetails>,
    unit_amount_decimal: Option<String>,
}

#[derive(Deserialize)]
struct PriceDetails {
    price: Option<WirePrice>,
}

#[derive(Deserialize)]
struct LineParent {
    subscription_item_details: Option<ItemDetails>,
    invoice_item_details: Option<ItemDetails>,
}

#[derive(Deserialize)]
struct ItemDetails {
    #[serde(default)]
    proration: bool,
    subscription: Option<Reference>,
}

impl From<Wire> for Invoice {
    fn from(wire: Wire) -> Self {
        let details = wire.parent.and_then(|p| p.subscription_details).or(wire.subscription_details);
        let (of_details, snapshot) = details.map_or((None, None), |d| (d.subscription, d.metadata));
        let subscription = wire.subscription.or(of_details).map(Reference::into_id);
        let named = [snapshot, wire.metadata].into_iter().filter_map(user_of).collect();
        let begins = match (wire.billing_reason.as_deref(), wire.period_end) {
            (Some("subscription_create"), _) => Begins::All,
            (Some("subscription_cycle"), Some(end)) => Begins::From(end),
            _ => Begins::Plainly,
        };
        let lines = wire.lines.data.into_iter();
        Self {
            id: wire.id,
            customer: wire.customer.map(Reference::into_id),
            paid: wire.status.as_deref().map_or(wire.paid == Some(true), |status| status == "paid"),
            named,
            lines: lines.map(|line| Line::from_wire(line, subscription.as_deref(), begins)).collect(),
            has_more: wire.lines.has_more,
            begins,
            prices: BTreeMap::new(),
            subscription,
        }
    }
}

impl Line {
    fn from_wire(wire: WireLine, of_invoice: Option<&str>, begins: Begins) -> Self {
        let parent = wire.parent;
        let is_invoice_item = match &parent {
            Some(parent) => parent.subscription_item_details.is_none(),
            None => wire.what.as_deref() == Some("invoiceitem"),
        };
        let item = parent.and_then(|p| p.subscription_item_details.or(p.invoice_item_details));
        let (of_item, proration) = item.map_or((None, None), |i| (i.subscription, Some(i.proration)));
        let subscription = of_item.or(wire.subscription).map(Reference::into_id);
        let is_proration = proration.or(wire.proration).unwrap_or(false);
        let start = wire.period.as_ref().map(|period| period.start);
        let is_begin = match begins {
            Begins::Plainly => false,
            Begins::All => true,
            Begins::From(end) => start.is_some_and(|start| start >= end),
        };
        let is_own = subscription.is_none() || subscription.as_deref() == of_invoice;
        let metered = wire.price.iter().chain(&wire.plan).any(WirePrice::is_metered);
        let full_price = wire.price.as_ref().and_then(WirePrice::full);
        let (of_pricing, unit_amount) =
            wire.pricing.map_or((None, None), |p| (p.price_details.and_then(|d| d.price), p.unit_amount_decimal));
        let price = of_pricing.or(wire.price).or(wire.plan);
        Self {
            subscription: subscription.or_else(|| of_invoice.map(str::to_owned)),
            price: price.and_then(WirePrice::into_id),
            // Only a subscription's items are prorated, also where the line is an invoice item's.
            of_item: !is_invoice_item || is_proration,
            proration: is_proration && !(is_begin && is_own && wire.amount > 0),
            amount: wire.amount,
            quantity: wire.quantity.unwrap_or(1),
            start: start.and_then(|start| DateTime::from_timestamp(start, 0)),
            end: wire.period.and_then(|p| DateTime::from_timestamp(p.end?, 0)),
            user: user_of(wire.metadata),
            metered,
            currency: wire.currency,
            unit_amount,
            full_price,
        }
    }
}

fn user_of(metadata: Option<Metadata>) -> Option<String> {
    metadata?.remove("user_id").filter(|user| !user.is_empty())
}
