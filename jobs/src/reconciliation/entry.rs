//! What is put down of an object of Stripe's until it is judged: what is compared, and nothing else.

use std::collections::BTreeMap;

use bursar_stripe::{Reference, charges::Told, checkout::Session, credit_notes::CreditNote, transfers::Transfer};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    subscriptions::{
        charged_share::Price,
        invoice::Invoice,
        refill::{advice, paid_without_tier, refills},
    },
    terms::Terms,
};

/// One object.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Entry {
    /// An invoice that was paid in the month.
    Invoice(PaidInvoice),
    /// A session that was paid.
    Session(Session),
    /// A charge of which something came back.
    Charge(Returned),
    /// A refund.
    Refund(Back),
    /// A dispute.
    Dispute(Back),
    /// A Transfer.
    Transfer(Transfer),
    /// A reversal of a Transfer.
    Reversal(Reversal),
    /// A charge that was asked for, with all that belongs to it.
    Told(Box<Told>),
    /// Something that was asked for and is there, and paid if it is to be paid.
    There {
        /// Its id.
        id: String,
    },
    /// Something that was asked for and is not there, or not paid.
    Missing {
        /// Its id.
        id: String,
        /// In words.
        why: String,
    },
}

/// What a paid invoice is worth by the terms of now, and to whom.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct PaidInvoice {
    pub id: String,
    pub customer: Option<String>,
    pub named: Vec<String>,
    pub amount_paid: Option<i64>,
    pub currency: Option<String>,
    pub paid_at: Option<DateTime<Utc>>,
    /// The postings that it leads to.
    pub grants: Vec<Due>,
    /// The changes of plan that it paid for.
    pub changes: Vec<Changed>,
    /// Why it is not known what it is worth.
    pub problem: Option<String>,
    /// What to do about that.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// A posting that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Due {
    pub key: String,
    /// Millionths.
    pub credits: i64,
}

/// A change of plan that was paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changed {
    pub subscription: String,
    pub at: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Millionths a month.
    pub old_value: i64,
    pub new_value: i64,
}

/// A charge, as far as it says that something of it came back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Returned {
    pub id: String,
    #[serde(default)]
    pub amount_refunded: i64,
    #[serde(default)]
    pub disputed: bool,
}

/// A refund or a dispute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Back {
    pub id: String,
    pub charge: Option<String>,
    pub payment_intent: Option<String>,
    pub amount: i64,
    pub status: String,
}

/// A reversal of a Transfer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reversal {
    pub id: String,
    pub transfer: String,
    pub amount: i64,
    pub currency: String,
    /// The movement of the balance that told of it.
    pub movement: String,
}

#[derive(Deserialize)]
struct Wire {
    amount_paid: Option<i64>,
    currency: Option<String>,
    created: Option<i64>,
    status_transitions: Option<Transitions>,
}

#[derive(Deserialize)]
struct Transitions {
    paid_at: Option<i64>,
}

#[derive(Deserialize)]
struct BackWire {
    id: String,
    charge: Option<Reference>,
    payment_intent: Option<Reference>,
    amount: i64,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Movement {
    id: String,
    source: ReversalWire,
}

#[derive(Deserialize)]
struct ReversalWire {
    id: String,
    transfer: Reference,
    amount: i64,
    currency: String,
}

impl PaidInvoice {
    /// Reads an invoice with all its lines, and the prices that were asked for.
    pub fn read(object: &Value, prices: &BTreeMap<String, Price>, terms: &Terms) -> Result<Self, serde_json::Error> {
        let (mut invoice, wire) = (Invoice::deserialize(object)?, Wire::deserialize(object)?);
        invoice.prices.clone_from(prices);
        let paid_at = wire.status_transitions.and_then(|transitions| transitions.paid_at).or(wire.created);
        let mut paid = Self {
            customer: invoice.customer.clone(),
            named: invoice.users(),
            amount_paid: wire.amount_paid,
            currency: wire.currency,
            paid_at: paid_at.and_then(|at| DateTime::from_timestamp(at, 0)),
            changes: changes(&invoice, terms),
            ..Self { id: invoice.id.clone(), ..Self::default() }
        };
        match refills(&invoice, terms) {
            Ok(refills) => {
                for (service, due) in refills {
                    paid.grants.extend(due.due(&service).into_iter().map(|(key, credits)| Due { key, credits }));
                }
            }
            Err(error) => paid.problem = Some(error.to_string()),
        }
        if paid.grants.is_empty() && paid.problem.is_none() {
            let without = paid_without_tier(&invoice, terms);
            paid.problem = without.map(|price| format!("{price} sells no tier"));
            paid.remedy = without.map(|price| advice(price, "run `bursar reconcile --repair`", "leave it as it is"));
        }
        Ok(paid)
    }

    /// Whether anything must be looked for.
    pub fn is_worth_something(&self) -> bool {
        !self.grants.is_empty() || !self.changes.is_empty() || self.problem.is_some()
    }
}

/// The rises of plan that an invoice paid for: a proration line gives an old price back, and one of the same moment takes the new one.
fn changes(invoice: &Invoice, terms: &Terms) -> Vec<Changed> {
    let mut changes: Vec<Changed> = Vec::new();
    for line in invoice.lines.iter().filter(|line| line.proration) {
        let (Some(subscription), Some(at), Some(until)) = (&line.subscription, line.start, line.end) else { continue };
        let Some(tier) = line.price.as_deref().and_then(|price| terms.tier_of_price(price)) else { continue };
        let Some(value) = tier.credits.times(line.quantity).map(crate::base::credits::Credits::micros) else {
            continue;
        };
        let known = changes.iter_mut().find(|known| known.subscription == *subscription && known.at == at);
        let (old_value, new_value) = if line.amount < 0 { (value, 0) } else { (0, value) };
        match known {
            Some(known) => {
                known.old_value = known.old_value.saturating_add(old_value);
                known.new_value = known.new_value.saturating_add(new_value);
            }
            None => changes.push(Changed { subscription: subscription.clone(), at, until, old_value, new_value }),
        }
    }
    // Without both sides it is not known from what to what.
    changes.retain(|change| change.old_value > 0 && change.new_value > change.old_value);
    changes
}

impl Back {
    pub fn read(object: &Value) -> Result<Self, serde_json::Error> {
        let wire = BackWire::deserialize(object)?;
        Ok(Self {
            id: wire.id,
            charge: wire.charge.map(Reference::into_id),
            payment_intent: wire.payment_intent.map(Reference::into_id),
            amount: wire.amount,
            status: wire.status.unwrap_or_else(|| "none".to_owned()),
        })
    }
}

impl Back {
    /// What a credit note gave back of its invoice; none where it gave nothing.
    pub fn of_credit_note(object: &Value) -> Result<Option<Self>, serde_json::Error> {
        let note = CreditNote::read(object)?;
        let refund = note.as_refund();
        Ok((refund.amount > 0).then(|| Self {
            id: note.id,
            charge: note.invoice,
            payment_intent: None,
            amount: refund.amount,
            status: refund.status.unwrap_or_default(),
        }))
    }
}

impl Reversal {
    pub fn read(object: &Value) -> Result<Self, serde_json::Error> {
        let Movement { id, source } = Movement::deserialize(object)?;
        Ok(Self {
            id: source.id,
            transfer: source.transfer.into_id(),
            amount: source.amount,
            currency: source.currency,
            movement: id,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        base::credits::Credits,
        terms::{PayoutTerms, RefillTerms, Selling, Tier},
    };

    fn terms() -> Terms {
        let tier = |name: &str, credits| Tier {
            name: name.into(),
            credits: Credits::whole(credits).unwrap(),
            prices: vec![format!("price_{name}")],
            refill: RefillTerms::default(),
        };
        Terms {
            tiers: vec![tier("pro", 150), tier("team", 500)],
            packages: Vec::new(),
            skills: std::collections::BTreeMap::new(),
            payout: PayoutTerms { minor_units_per_credit: 50, currency: "usd".into(), ..PayoutTerms::default() },
            initial_credits: Credits::ZERO,
            livemode: false,
            stripe_on: true,
            grace: std::time::Duration::ZERO,
            selling: Selling::default(),
            dunning: crate::dunning::Dunning::default(),
        }
    }

    fn line(price: &str, amount: i64, proration: bool, legacy: bool) -> Value {
        let mut line = json!({"id": "il_1", "amount": amount, "quantity": 1, "period": {"start": 1_790_000_000, "end": 1_792_592_000}});
        if legacy {
            line["price"] = json!({"id": price});
            line["proration"] = json!(proration);
            line["subscription"] = json!("sub_1");
        } else {
            line["pricing"] = json!({"price_details": {"price": price}});
            line["parent"] = json!({"subscription_item_details": {"subscription": "sub_1", "proration": proration}});
        }
        line
    }

    fn invoice(lines: &[Value], legacy: bool) -> Value {
        let mut invoice = json!({"id": "in_1", "customer": "cus_1", "status": "paid", "amount_paid": 1900, "currency": "usd",
            "status_transitions": {"paid_at": 1_790_000_100}, "lines": {"data": lines, "has_more": false}});
        let details = json!({"subscription": "sub_1", "metadata": {"user_id": "alice"}});
        if legacy {
            invoice["subscription"] = json!("sub_1");
            invoice["subscription_details"] = json!({"metadata": {"user_id": "alice"}});
        } else {
            invoice["parent"] = json!({"subscription_details": details});
        }
        invoice
    }

    #[test]
    fn an_invoice_is_worth_the_same_in_both_layouts() {
        for legacy in [false, true] {
            let lines = [line("price_pro", 1900, false, legacy)];
            let paid = PaidInvoice::read(&invoice(&lines, legacy), &BTreeMap::new(), &terms()).unwrap();
            let due = Due { key: "refill:sub_1:pro:2026-09-21T14:13:20Z".into(), credits: 150_000_000 };
            assert_eq!(
                (paid.grants, paid.named, paid.problem),
                (vec![due], vec!["alice".to_owned()], None),
                "{legacy}"
            );
            assert_eq!(paid.paid_at.unwrap().timestamp(), 1_790_000_100);
        }
    }

    #[test]
    fn a_rise_of_plan_is_read_of_its_two_lines_in_both_layouts_and_a_fall_is_none() {
        for legacy in [false, true] {
            let rise = [line("price_pro", -900, true, legacy), line("price_team", 2400, true, legacy)];
            let paid = PaidInvoice::read(&invoice(&rise, legacy), &BTreeMap::new(), &terms()).unwrap();
            let values: Vec<(i64, i64)> =
                paid.changes.iter().map(|change| (change.old_value, change.new_value)).collect();
            assert_eq!((values, paid.grants.len()), (vec![(150_000_000, 500_000_000)], 0), "{legacy}");
            let fall = [line("price_team", -2400, true, legacy), line("price_pro", 900, true, legacy)];
            assert!(
                !PaidInvoice::read(&invoice(&fall, legacy), &BTreeMap::new(), &terms()).unwrap().is_worth_something()
            );
        }
    }

    #[test]
    fn what_cannot_be_judged_says_why() {
        let lines = [line("price_gone", 1900, false, false)];
        let paid = PaidInvoice::read(&invoice(&lines, false), &BTreeMap::new(), &terms()).unwrap();
        assert_eq!(paid.problem.as_deref(), Some("price_gone sells no tier"));
    }

    #[test]
    fn a_reversal_is_read_of_the_movement_that_told_of_it() {
        let movement = json!({"id": "txn_1", "object": "balance_transaction", "amount": 40, "source":
            {"id": "trr_1", "object": "transfer_reversal", "transfer": "tr_1", "amount": 40, "currency": "usd"}});
        let reversal = Reversal::read(&movement).unwrap();
        assert_eq!((reversal.id.as_str(), reversal.transfer.as_str(), reversal.amount), ("trr_1", "tr_1", 40));
    }
}
