//! Changing a subscription: its items with prorations, its anchor, its trial, its end.

use serde_json::{Value, json};

use super::{
    cycle,
    items::{self, ItemDraft},
    period,
    proration::{self, Behavior},
    state::{self, clock},
    upcoming,
};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    params::Params,
    store::{number, text},
    v1::{
        discounts::{self, Asked},
        invoice_items,
        invoices::{collect, draft::Draft, finalize, lines},
        payment_methods,
        payments::Paid,
    },
    world::World,
};

/// What is to change.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a parameter of Stripe's")]
pub(crate) struct Change {
    pub items: Vec<ItemDraft>,
    pub behavior: Behavior,
    /// When prorations count from; now, when none.
    pub date: Option<i64>,
    pub anchor_now: bool,
    pub trial_end: Option<TrialEnd>,
    pub fields: Vec<(&'static str, Value)>,
    pub discounts: Option<Vec<Asked>>,
    pub cancel_at_period_end: Option<bool>,
    /// Whether nothing changes where the payment is refused.
    pub refuses: bool,
    /// Whether what is invoiced at once is left to be paid by hand.
    pub waits: bool,
    pub off_session: bool,
}

/// A trial's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrialEnd {
    Now,
    At(i64),
}

/// Reads what every route that changes items has in common.
pub(crate) fn behaviors(params: &Params) -> Result<Change, Failure> {
    let behavior = Behavior::of(params.choice("proration_behavior", proration::WORDS)?);
    let words = ["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"];
    let payment = params.choice("payment_behavior", &words)?;
    if payment == Some("pending_if_incomplete") {
        let message = "The sandbox keeps no pending updates: `pending_if_incomplete` is not spoken.";
        return Err(Failure::invalid(message).param("payment_behavior"));
    }
    Ok(Change {
        behavior,
        date: params.integer("proration_date")?,
        refuses: payment == Some("error_if_incomplete"),
        waits: payment == Some("default_incomplete"),
        off_session: params.boolean("off_session")?.unwrap_or_default(),
        ..Change::default()
    })
}

pub(super) fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = world.store.get("subscription", call.id()).cloned().unwrap_or_default();
    let mut change = behaviors(params)?;
    change.items = items::read(params, false)?;
    change.anchor_now = params.choice("billing_cycle_anchor", &["now", "unchanged"])? == Some("now");
    change.trial_end = match params.text("trial_end")? {
        None => None,
        Some("now") => Some(TrialEnd::Now),
        Some(_) => params.integer("trial_end")?.map(TrialEnd::At),
    };
    change.discounts = discounts::read(params)?;
    change.cancel_at_period_end = params.boolean("cancel_at_period_end")?;
    change.fields = super::fields(params, &kept)?;
    if params.has("metadata") {
        change.fields.push(("metadata", params.metadata(&kept["metadata"])?));
    }
    world.execute()?;
    let subscription = world.object("subscription", "subscription", call.id())?;
    let told_only = params.names().iter().all(|name| name == "metadata" || name == "expand");
    if !state::is_live(&subscription) && !told_only {
        let message = "A canceled subscription can only update its cancellation_details and metadata.";
        return Err(Failure::invalid(message));
    }
    let method = params.text("default_payment_method")?.filter(|id| !id.is_empty());
    if let Some(method) = method {
        payment_methods::check_payer(world, method, text(&subscription, "customer"), "default_payment_method")?;
    }
    apply(world, call.id(), change)
}

/// Changes a subscription that is there.
pub(crate) fn apply(world: &mut World, id: &str, change: Change) -> Answer {
    let clock = clock(world, id);
    world.at_clock(&clock, |world| changed(world, id, change))
}

fn changed(world: &mut World, id: &str, change: Change) -> Answer {
    let before = world.object("subscription", "subscription", id)?;
    let mut after = before.clone();
    for (name, value) in &change.fields {
        after[*name] = value.clone();
    }
    if let Some(at_end) = change.cancel_at_period_end {
        let (_, over) = period::of(&before);
        after["cancel_at_period_end"] = json!(at_end);
        after["cancel_at"] = if at_end { json!(over) } else { Value::Null };
        after["canceled_at"] = if at_end { json!(world.now) } else { Value::Null };
        after["cancellation_details"]["reason"] = if at_end { json!("cancellation_requested") } else { Value::Null };
    }
    if let Some(asked) = &change.discounts {
        let (customer, currency) = (text(&before, "customer"), text(&before, "currency"));
        discounts::judge(world, asked, customer, currency)?;
        after["discounts"] = discounts::make(world, asked, customer, Some(id));
    }
    let moved = change.anchor_now || change.trial_end.is_some();
    let ends_trial = matches!(change.trial_end, Some(TrialEnd::Now)) && text(&before, "status") == "trialing";
    let behavior = change.behavior;
    let (refuses, waits, off_session) = (change.refuses, change.waits, change.off_session);
    let Reckoned { mut after, waiting, plan } = reckon(world, &before, after, change)?;
    if let (Some((_, (_, over))), true) = (plan.period, after["cancel_at_period_end"] == true) {
        // It ends with its period, whenever that is now.
        after["cancel_at"] = json!(over);
    }
    let bills = plan.bills || (behavior == Behavior::Invoice && !waiting.is_empty());
    let how = collect::How { method: None, off_session, automatic: true };
    let mut billed = None;
    if bills {
        let invoice = invoice(world, &before, &after, &waiting, plan.bills);
        let charged = text(&after, "collection_method") == "charge_automatically" && !waits;
        let tried = if charged { collect::attempt(world, &invoice, &how) } else { None };
        if refuses && let Some(failure) = collect::refusal(world, tried.as_ref()) {
            return Err(failure);
        }
        after["latest_invoice"] = invoice["id"].clone();
        billed = Some((invoice, tried));
    }
    for item in &waiting {
        world.create("invoiceitem", "invoiceitem.created", item.clone());
    }
    if let Some((invoice, _)) = &billed {
        let on = upcoming::waiting(world, &after);
        invoice_items::put_on(world, &on, text(invoice, "id"));
    }
    let after = settle(world, after, billed, &how);
    if ends_trial {
        // Stripe: types of events, `customer.subscription.trial_will_end`: also when a trial is ended by `trial_end=now`.
        let now = world.object("subscription", "subscription", id)?;
        world.emit("customer.subscription.trial_will_end", &now);
    }
    if plan.period.is_some() || moved {
        cycle::plan(world, &after);
        cycle::plan_trial(world, &after);
    }
    if after["cancel_at"] != before["cancel_at"] {
        cycle::plan_cancel(world, &after);
    }
    if let Some(at) = after["pause_collection"]["resumes_at"]
        .as_i64()
        .filter(|_| after["pause_collection"] != before["pause_collection"])
    {
        world.plan(text(&after, "test_clock"), at, unpause, id);
    }
    world.object("subscription", "subscription", id)
}

/// A change as it would be: nothing of it is kept yet.
pub(crate) struct Reckoned {
    pub after: Value,
    /// Its prorations, made and not kept.
    pub waiting: Vec<Value>,
    plan: Plan,
}

impl Reckoned {
    /// Whether a new period begins now, and is invoiced.
    pub fn resets(&self) -> bool {
        self.plan.bills
    }
}

/// What a change of items, of the anchor or of the trial comes to; `after` has the rest of the change.
pub(crate) fn reckon(world: &mut World, before: &Value, mut after: Value, change: Change) -> Result<Reckoned, Failure> {
    let touched = !change.items.is_empty();
    if touched {
        let items = items::changed(world, before, change.items)?;
        items::put(&mut after, &items);
    }
    let plan = Plan::of(world, before, &after, change.anchor_now, change.trial_end)?;
    if let Some((anchor, period)) = plan.period {
        after["billing_cycle_anchor"] = json!(anchor);
        items::set_period(&mut after, period);
    }
    plan.trial(&mut after, world.now);
    let mut waiting = Vec::new();
    // What was paid of a period that a trial takes the place of is given back as well.
    let resets = plan.bills || matches!(plan.trial, Some(TrialEnd::At(_)));
    if change.behavior != Behavior::None && (touched || resets) {
        let at = change.date.unwrap_or(world.now);
        let (start, end) = period::of(before);
        if change.date.is_some() && !(start..=end).contains(&at) {
            let message = "Cannot specify proration date outside of current subscription period";
            return Err(Failure::invalid(message).param("subscription_proration_date"));
        }
        let items = after["items"]["data"].as_array().cloned().unwrap_or_default();
        for draft in proration::drafts(world, before, &items, at, resets) {
            waiting.push(draft.build(world));
        }
    }
    Ok(Reckoned { after, waiting, plan })
}

/// The invoice of a change, not kept yet: what waits, and the new period where one begins.
fn invoice(world: &mut World, before: &Value, after: &Value, new: &[Value], period_too: bool) -> Value {
    let mut on = upcoming::waiting(world, after);
    on.extend(new.iter().cloned());
    let mut all = invoice_items::lines(world, &on);
    if period_too {
        all.extend(upcoming::lines_of_period(world, after));
    }
    let (start, _) = period::of(before);
    let mut draft = Draft::of(after, "subscription_update", all, (start, world.now));
    draft.auto_advance = true;
    draft.build(world)
}

/// Keeps what changed, with the invoice that it made and what its payment came to.
fn settle(world: &mut World, after: Value, billed: Option<(Value, Option<Paid>)>, how: &collect::How) -> Value {
    let Some((invoice, tried)) = billed else {
        return world.change("subscription", "customer.subscription.updated", after);
    };
    let draft = world.create("invoice", "invoice.created", invoice);
    let invoice = finalize::issue_tried(world, draft, tried.as_ref());
    let after = world.change("subscription", "customer.subscription.updated", after);
    let charged = text(&invoice, "collection_method") == "charge_automatically";
    if tried.is_some() || number(&invoice, "amount_due") == 0 {
        // A refusal is kept, and told by events.
        drop(collect::apply(world, invoice, tried, how));
    } else if charged {
        super::hooks::failed(world, &invoice);
    } else {
        world.emit("invoice.sent", &invoice);
    }
    after
}

/// What a change does to the period.
struct Plan {
    /// The new anchor and period.
    period: Option<(i64, (i64, i64))>,
    /// Whether the new period is invoiced at once.
    bills: bool,
    trial: Option<TrialEnd>,
}

impl Plan {
    /// Stripe: another interval, or the first price above nothing, begins a new period now; so does the end of a trial.
    fn of(
        world: &World,
        before: &Value,
        after: &Value,
        anchor_now: bool,
        trial: Option<TrialEnd>,
    ) -> Result<Self, Failure> {
        let items = |subscription: &Value| subscription["items"]["data"].as_array().cloned().unwrap_or_default();
        let (old, new) = (items(before), items(after));
        let every = period::recurring(&new);
        let (start, over) = period::of(before);
        let now = world.now;
        if let Some(TrialEnd::At(at)) = trial {
            if at <= now || at > now + 731 * period::DAY {
                let message = "Invalid timestamp: can be no earlier than now, and no more than two years from now.";
                return Err(Failure::invalid(message).param("trial_end"));
            }
            return Ok(Self { period: Some((at, (start.min(now), at))), bills: false, trial });
        }
        let trials = text(before, "status") == "trialing";
        let free = |items: &[Value]| items.iter().map(lines::cost).sum::<i64>() == 0;
        let interval = |items: &[Value]| {
            let every = period::recurring(items);
            (every["interval"].clone(), every["interval_count"].clone())
        };
        let active = matches!(text(before, "status"), "active" | "past_due");
        let other = active && (interval(&old) != interval(&new) || (free(&old) && !free(&new)));
        let ends = trials && (trial == Some(TrialEnd::Now) || anchor_now);
        if other && now >= over {
            // At the very end of the period: the renewal charges for the next one.
            return Ok(Self { period: Some((over, (start, over))), bills: false, trial: None });
        }
        if other || ends || (active && anchor_now) {
            let period = Some((now, (now, period::after(now, &every, now))));
            return Ok(Self { period, bills: true, trial: ends.then_some(TrialEnd::Now) });
        }
        Ok(Self { period: None, bills: false, trial: None })
    }

    fn trial(&self, after: &mut Value, now: i64) {
        match self.trial {
            Some(TrialEnd::Now) => {
                after["trial_end"] = json!(now);
                after["status"] = json!("active");
            }
            Some(TrialEnd::At(at)) => {
                after["trial_end"] = json!(at);
                if after["trial_start"].is_null() || text(after, "status") != "trialing" {
                    after["trial_start"] = json!(now);
                }
                after["status"] = json!("trialing");
            }
            None => {}
        }
    }
}

/// A pause of the collection is over.
fn unpause(world: &mut World, id: &str) {
    let Some(mut subscription) = world.store.get("subscription", id).cloned() else { return };
    let due = subscription["pause_collection"]["resumes_at"].as_i64().is_some_and(|at| at <= world.now);
    if due && state::is_live(&subscription) {
        subscription["pause_collection"] = Value::Null;
        world.change("subscription", "customer.subscription.updated", subscription);
    }
}
