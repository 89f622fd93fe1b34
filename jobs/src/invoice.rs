//! An invoice as both of Stripe's layouts tell it: before 2025-03-31.basil and since. What is read here is the same for either.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::{event::Metadata, link_subscriber::Customer};

/// What a refill must know of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// `in_…`
    pub id: String,
    /// `cus_…`
    pub customer: Option<String>,
    /// Whether it is paid, in whatever way: by card, by balance, out of band.
    pub paid: bool,
    /// The users that its metadata and its subscription's name.
    pub users: Vec<String>,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Whether it has lines that the event does not carry.
    pub has_more: bool,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `sub_…`
    pub subscription: Option<String>,
    /// `price_…`
    pub price: Option<String>,
    /// Adjusts a period that was already paid: a plan change, not a refill.
    pub proration: bool,
    /// Minor units, before discounts and tax. Zero: a trial.
    pub amount: i64,
    /// How many of the price.
    pub quantity: i64,
    /// When the time that it pays for begins. An invoice's own period is another thing.
    pub start: Option<DateTime<Utc>>,
}

impl<'de> Deserialize<'de> for Invoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(Self::from)
    }
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    customer: Option<Customer>,
    status: Option<String>,
    metadata: Option<Metadata>,
    #[serde(default)]
    lines: WireLines,
    /// Since basil.
    parent: Option<Parent>,
    /// Before.
    paid: Option<bool>,
    subscription: Option<Customer>,
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
    subscription: Option<Customer>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct WireLine {
    #[serde(default)]
    amount: i64,
    quantity: Option<i64>,
    period: Option<Period>,
    metadata: Option<Metadata>,
    /// Since basil.
    pricing: Option<Pricing>,
    parent: Option<LineParent>,
    /// Before.
    price: Option<Customer>,
    plan: Option<Customer>,
    proration: Option<bool>,
    subscription: Option<Customer>,
}

#[derive(Deserialize)]
struct Period {
    start: i64,
}

#[derive(Deserialize)]
struct Pricing {
    price_details: Option<PriceDetails>,
}

#[derive(Deserialize)]
struct PriceDetails {
    price: Option<Customer>,
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
    subscription: Option<Customer>,
}

impl From<Wire> for Invoice {
    fn from(wire: Wire) -> Self {
        let details = wire.parent.and_then(|p| p.subscription_details).or(wire.subscription_details);
        let (of_details, snapshot) = details.map_or((None, None), |d| (d.subscription, d.metadata));
        let subscription = wire.subscription.or(of_details).map(Customer::into_id);
        let mut users: Vec<String> = [snapshot, wire.metadata]
            .into_iter()
            .chain(wire.lines.data.iter().map(|line| line.metadata.clone()))
            .filter_map(|metadata| metadata?.remove("user_id"))
            .filter(|user| !user.is_empty())
            .collect();
        users.sort_unstable();
        users.dedup();
        Self {
            id: wire.id,
            customer: wire.customer.map(Customer::into_id),
            paid: wire.status.as_deref().map_or(wire.paid == Some(true), |status| status == "paid"),
            users,
            lines: wire.lines.data.into_iter().map(|line| Line::from_wire(line, subscription.as_deref())).collect(),
            has_more: wire.lines.has_more,
        }
    }
}

impl Line {
    fn from_wire(wire: WireLine, of_invoice: Option<&str>) -> Self {
        let item = wire.parent.and_then(|p| p.subscription_item_details.or(p.invoice_item_details));
        let (of_item, proration) = item.map_or((None, None), |i| (i.subscription, Some(i.proration)));
        let price = wire.pricing.and_then(|p| p.price_details?.price).or(wire.price).or(wire.plan);
        Self {
            subscription: of_item
                .or(wire.subscription)
                .map(Customer::into_id)
                .or_else(|| of_invoice.map(str::to_owned)),
            price: price.map(Customer::into_id),
            proration: proration.or(wire.proration).unwrap_or(false),
            amount: wire.amount,
            quantity: wire.quantity.unwrap_or(1),
            start: wire.period.and_then(|p| DateTime::from_timestamp(p.start, 0)),
        }
    }
}
