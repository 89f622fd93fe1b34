//! `/v1/invoiceitems`: what waits for a customer's next invoice, or is put on a draft. Prorations of subscriptions wait here too.

use serde_json::{Value, json};

use super::{
    buyers,
    invoices::{draft, lines},
    prices,
};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list::{self, Created},
    params::{MAX_AMOUNT, Params},
    store::text,
    world::World,
};

const CREATE: &[&str] = &[
    "customer",
    "amount",
    "currency",
    "description",
    "discountable",
    "invoice",
    "metadata*",
    "period[start]",
    "period[end]",
    "price_data*",
    "pricing[price]",
    "price",
    "quantity",
    "subscription",
    "unit_amount_decimal",
    "unit_amount",
];
const UPDATE: &[&str] = &["amount", "description", "discountable", "metadata*", "period[start]", "period[end]"];
const LIST: &[&str] = &["customer", "invoice", "pending", "created*", "limit", "starting_after", "ending_before"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/invoiceitems", params: CREATE, run: create },
    Endpoint { method: "GET", path: "/v1/invoiceitems", params: LIST, run: all },
    Endpoint { method: "GET", path: "/v1/invoiceitems/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/invoiceitems/{id}", params: UPDATE, run: update },
    Endpoint { method: "DELETE", path: "/v1/invoiceitems/{id}", params: &[], run: delete },
];

/// An item that is to wait for an invoice.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub amount: i64,
    pub currency: String,
    pub customer: String,
    pub description: Value,
    pub discountable: bool,
    pub metadata: Value,
    /// `subscription` and `subscription_item`, or null.
    pub parent: Value,
    pub period: (i64, i64),
    pub pricing: Value,
    pub proration: bool,
    /// What a credit gives back: an invoice and its lines, or null.
    pub credited: Value,
    pub quantity: i64,
}

impl Draft {
    /// Makes the item; it is not kept yet.
    pub fn build(self, world: &mut World) -> Value {
        let clock = world.clock_of(&self.customer);
        json!({
            "id": world.ids.next("ii_"),
            "object": "invoiceitem",
            "amount": self.amount,
            "currency": self.currency,
            "customer": self.customer,
            "customer_account": null,
            "date": world.now,
            "created": world.now,
            "description": self.description,
            "discountable": self.discountable,
            "discounts": [],
            "invoice": null,
            "livemode": false,
            "metadata": self.metadata,
            "net_amount": self.amount,
            "parent": self.parent,
            "period": { "start": self.period.0, "end": self.period.1 },
            "pricing": self.pricing,
            "proration": self.proration,
            "proration_details": self.proration.then(|| json!({ "credited_items": self.credited, "discount_amounts": [] })),
            "quantity": self.quantity,
            "quantity_decimal": self.quantity.to_string(),
            "tax_rates": [],
            "test_clock": if clock.is_empty() { Value::Null } else { json!(clock) },
        })
    }
}

/// What waits for an invoice of a customer; of one subscription, when one is named, and then also what is of none.
pub(super) fn pending(world: &World, customer: &str, subscription: Option<&str>) -> Vec<Value> {
    let items = world.store.all("invoiceitem").filter(|item| text(item, "customer") == customer);
    items
        .filter(|item| item["invoice"].is_null())
        .filter(|item| {
            let of = item["parent"]["subscription_details"]["subscription"].as_str();
            subscription.is_none_or(|wanted| of.is_none_or(|of| of == wanted))
        })
        .cloned()
        .collect()
}

/// The lines of items.
pub(super) fn lines(world: &mut World, items: &[Value]) -> Vec<Value> {
    items.iter().map(|item| lines::of_invoice_item(world, item)).collect()
}

/// The items are on an invoice, and wait no more.
pub(super) fn put_on(world: &mut World, items: &[Value], invoice: &str) {
    for item in items {
        let mut item = item.clone();
        item["invoice"] = json!(invoice);
        world.store.insert("invoiceitem", item);
    }
}

/// The items of an invoice that is deleted wait again.
pub(super) fn free(world: &mut World, invoice: &str) {
    let items: Vec<Value> =
        world.store.all("invoiceitem").filter(|item| text(item, "invoice") == invoice).cloned().collect();
    for mut item in items {
        item["invoice"] = Value::Null;
        world.store.insert("invoiceitem", item);
    }
}

/// What something costs, as it is asked for.
enum Asked {
    Amount(i64, &'static str),
    Unit(i64, &'static str),
    Price(String),
    Data(prices::Draft),
}

fn asked(params: &Params) -> Result<Asked, Failure> {
    let named = params.below("pricing")?.map(|pricing| pricing.required("price").map(str::to_owned)).transpose()?;
    let named = named.or(params.text("price")?.map(str::to_owned));
    if let Some(data) = params.below("price_data")? {
        return Ok(Asked::Data(prices::draft(&data, "price_data")?));
    }
    if let Some(id) = named {
        return Ok(Asked::Price(id));
    }
    let amount = params.at_least(-MAX_AMOUNT, "amount")?;
    let unit = params.at_least(-MAX_AMOUNT, "unit_amount_decimal")?.or(params.at_least(-MAX_AMOUNT, "unit_amount")?);
    match (amount, unit) {
        (Some(amount), _) => Ok(Asked::Amount(amount, prices::currency(params)?)),
        (None, Some(unit)) => Ok(Asked::Unit(unit, prices::currency(params)?)),
        (None, None) => Err(params.missing("amount")),
    }
}

fn period(params: &Params, now: i64) -> Result<Option<(i64, i64)>, Failure> {
    let Some(period) = params.below("period")? else { return Ok(None) };
    let start = period.integer("start")?.unwrap_or(now);
    let end = period.integer("end")?.unwrap_or(now);
    if end < start {
        return Err(Failure::invalid("The period's end must not be before its start.").param("period[end]"));
    }
    Ok(Some((start, end)))
}

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let customer = params.required("customer")?.to_owned();
    let (costs, quantity) = (asked(params)?, params.at_least(0, "quantity")?.unwrap_or(1));
    let named = |name: &str| Ok::<_, Failure>(params.text(name)?.filter(|id| !id.is_empty()).map(str::to_owned));
    let (invoice, subscription) = (named("invoice")?, named("subscription")?);
    let description = params.nullable("description")?.unwrap_or_default();
    let discountable = params.boolean("discountable")?;
    let metadata = params.metadata(&json!({}))?;
    let given = period(params, world.now)?;
    world.execute()?;
    buyers::buyer(world, &customer)?;
    if let Some(id) = &subscription {
        world.named("subscription", "subscription", id, "subscription")?;
    }
    let onto = match &invoice {
        Some(id) => Some(editable(world.named("invoice", "invoice", id, "invoice")?, &customer)?),
        None => None,
    };
    let clock = world.clock_of(&customer);
    world.at_clock(&clock, |world| {
        let (amount, currency, pricing) = match costs {
            Asked::Amount(amount, currency) => (amount, currency.to_owned(), Value::Null),
            Asked::Unit(unit, currency) => (unit.saturating_mul(quantity), currency.to_owned(), Value::Null),
            Asked::Price(id) => priced(&world.named("price", "price", &id, "pricing[price]")?, quantity)?,
            Asked::Data(data) => {
                let price = data.make(world, false)?;
                world.store.insert("price", price.clone());
                priced(&price, quantity)?
            }
        };
        if amount.saturating_abs() > MAX_AMOUNT {
            return Err(Failure::invalid(format!("Amount must be no more than {MAX_AMOUNT}.")).code("amount_too_large"));
        }
        if onto.as_ref().is_some_and(|invoice| text(invoice, "currency") != currency) {
            let message = format!("The currency of the item ({currency}) is not that of the invoice.");
            return Err(Failure::invalid(message).param("currency"));
        }
        let parent = subscription.as_ref().map(|id| {
            json!({ "subscription_details": { "subscription": id, "subscription_item": null }, "type": "subscription_details" })
        });
        let draft = Draft {
            amount,
            currency,
            customer,
            description,
            discountable: discountable.unwrap_or(amount >= 0),
            metadata,
            parent: parent.unwrap_or_default(),
            period: given.unwrap_or((world.now, world.now)),
            pricing,
            quantity,
            ..Draft::default()
        };
        let mut item = draft.build(world);
        if let Some(invoice) = onto {
            item["invoice"] = invoice["id"].clone();
            let item = world.create("invoiceitem", "invoiceitem.created", item);
            let mut all = lines::all(&invoice);
            all.push(lines::of_invoice_item(world, &item));
            relined(world, invoice, all);
            return Ok(item);
        }
        Ok(world.create("invoiceitem", "invoiceitem.created", item))
    })
}

fn priced(price: &Value, quantity: i64) -> Result<(i64, String, Value), Failure> {
    if text(price, "type") == "recurring" {
        let message = format!(
            "The price specified is set to `type=recurring` but this field only accepts prices with `type=one_time`: {}",
            text(price, "id")
        );
        return Err(Failure::invalid(message).param("price"));
    }
    let pricing = lines::pricing(price, &price["unit_amount_decimal"]);
    Ok((prices::total(price, quantity)?, text(price, "currency").to_owned(), pricing))
}

/// A draft of this customer.
fn editable(invoice: Value, customer: &str) -> Answer {
    if text(&invoice, "status") != "draft" || text(&invoice, "customer") != customer {
        let message = "The invoice must be a draft of the same customer.";
        return Err(Failure::invalid(message).code("invoice_not_editable").param("invoice"));
    }
    Ok(invoice)
}

/// A draft has other lines now.
fn relined(world: &mut World, mut invoice: Value, all: Vec<Value>) {
    lines::put(&mut invoice, all);
    draft::total(world, &mut invoice);
    world.change("invoice", "invoice.updated", invoice);
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object("invoiceitem", "invoice item", call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = world.store.get("invoiceitem", call.id()).map(|item| item["metadata"].clone()).unwrap_or_default();
    let metadata = params.metadata(&kept)?;
    let (amount, description) = (params.at_least(-MAX_AMOUNT, "amount")?, params.nullable("description")?);
    let (discountable, period) = (params.boolean("discountable")?, period(params, world.now)?);
    world.execute()?;
    let mut item = world.object("invoiceitem", "invoice item", call.id())?;
    if amount.is_some() && !pending_or_draft(world, &item) {
        return Err(Failure::invalid("The invoice of this item is not a draft any more.").code("invoice_not_editable"));
    }
    item["metadata"] = metadata;
    if let Some(amount) = amount {
        (item["amount"], item["net_amount"]) = (json!(amount), json!(amount));
    }
    if let Some(description) = description {
        item["description"] = description;
    }
    if let Some(discountable) = discountable {
        item["discountable"] = json!(discountable);
    }
    if let Some((start, end)) = period {
        item["period"] = json!({ "start": start, "end": end });
    }
    let item = world.change("invoiceitem", "invoiceitem.updated", item);
    if let Some(invoice) = world.store.get("invoice", text(&item, "invoice")).cloned()
        && text(&invoice, "status") == "draft"
    {
        let all = lines::all(&invoice).into_iter().map(|line| {
            let is_it = line["parent"]["invoice_item_details"]["invoice_item"] == item["id"];
            if is_it { lines::of_invoice_item(world, &item) } else { line }
        });
        let all = all.collect();
        relined(world, invoice, all);
    }
    Ok(item)
}

fn pending_or_draft(world: &World, item: &Value) -> bool {
    world.store.get("invoice", text(item, "invoice")).is_none_or(|invoice| text(invoice, "status") == "draft")
}

fn delete(world: &mut World, call: &Call) -> Answer {
    world.execute()?;
    let item = world.object("invoiceitem", "invoice item", call.id())?;
    if !pending_or_draft(world, &item) {
        return Err(Failure::invalid("The invoice of this item is not a draft any more.").code("invoice_not_editable"));
    }
    if let Some(invoice) = world.store.get("invoice", text(&item, "invoice")).cloned() {
        let others = |line: &Value| line["parent"]["invoice_item_details"]["invoice_item"] != item["id"];
        let all = lines::all(&invoice).into_iter().filter(others).collect();
        relined(world, invoice, all);
    }
    world.store.remove("invoiceitem", call.id());
    world.emit("invoiceitem.deleted", &item);
    Ok(json!({ "id": call.id(), "object": "invoiceitem", "deleted": true }))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let (created, pending) = (Created::read(params)?, params.boolean("pending")?);
    let mut matching: Vec<&Value> = Vec::new();
    for item in world.store.all("invoiceitem").rev().filter(|item| created.holds(item)) {
        let mut asked = pending.is_none_or(|pending| item["invoice"].is_null() == pending);
        for field in ["customer", "invoice"] {
            asked &= list::is_asked(item, params, field)?;
        }
        if asked {
            matching.push(item);
        }
    }
    list::page(&matching, params, "invoice item", "/v1/invoiceitems")
}
