//! Reading a page: one question to Stripe, or a few one by one; what came back is put down for [`compare`](super::compare).

use std::collections::BTreeMap;

use bursar_stripe::{
    Client, Seen, charges, credit_notes, embedded,
    lists::{self, Listed},
    subscriptions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    engine::{
        call::{Answer, Call, Looked, Plan},
        change::AnyChange,
        job::{Effects, Job, JobError},
        kind::{Kind, RECONCILE_READ},
    },
    reconciliation::{
        MOST_ASKED, Phase, Run, Step,
        change::Change,
        entry::{Back, Entry, PaidInvoice, Returned, Reversal},
    },
    subscriptions::{charged_share::Price, invoice::Invoice},
    terms::Terms,
};

/// Reads what a step asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Read(Step);

impl Job for Read {
    const KIND: Kind = RECONCILE_READ;
}

/// The run, if there is one.
#[derive(Debug)]
pub(crate) struct Facts(Option<Run>);

impl Call for Read {
    type Facts = Facts;

    async fn gather(&self, db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
        Run::load(db, &self.0.run).await.map(Facts)
    }

    fn intent(&self, Facts(run): &Facts, _: &Terms) -> Result<Plan, JobError> {
        match run {
            Some(run) if run.state == "running" => Ok(Plan::AskAll),
            Some(run) => Ok(Plan::Nothing(Effects::skip(format!("{} is {}", run.id, run.state)))),
            None => Err(JobError::Dead(format!("there is no run {}", self.0.run))),
        }
    }

    async fn look(&self, Facts(run): &Facts, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let Some(run) = run else { return Ok(Looked::Nothing) };
        if !self.0.ask.is_empty() {
            return self.ask_one_by_one(stripe).await;
        }
        let Some(list) = self.0.phase.list() else { return Ok(Looked::Nothing) };
        let from = (run.from - self.0.phase.margin()).timestamp();
        let request = lists::page(list, from, run.before.timestamp(), self.0.after.as_deref());
        // The lists within the objects too: the lines of invoices, what was bought in sessions.
        let mut page = embedded::whole(stripe, stripe.send(&request, None).await).await.into_success()?;
        if self.0.phase == Phase::Invoices {
            let mut prices = BTreeMap::new();
            for invoice in page["data"].as_array().into_iter().flatten() {
                read_prices(stripe, invoice, &mut prices).await?;
            }
            page["prices"] = prices.into_iter().filter_map(|(id, price)| Some((id, json!(price?)))).collect();
        }
        Ok(Looked::Found(page))
    }

    fn gave_up(&self, why: &str) -> Vec<AnyChange> {
        let run = self.0.run.clone();
        vec![Change::Stop { run, why: why.to_owned() }.into()]
    }

    fn resolve(&self, Facts(run): &Facts, answer: Answer<'_>, terms: &Terms) -> Result<Effects, JobError> {
        let run = run.as_ref().ok_or_else(|| JobError::Dead(format!("there is no run {}", self.0.run)))?;
        if run.state != "running" {
            return Ok(Effects::skip(format!("{} is {}", run.id, run.state)));
        }
        let Answer::Fact(answer, _) = answer else {
            return Err(JobError::Dead("Stripe does not know the list that was asked for".into()));
        };
        let step = &self.0;
        if !step.ask.is_empty() {
            let entries: Vec<Entry> = serde_json::from_value(answer.clone())
                .map_err(|error| JobError::Dead(format!("what was asked for does not read: {error}")))?;
            return Ok(self.put_down(&entries, Vec::new(), 0, step.compare(true)));
        }
        let prices: BTreeMap<String, Price> = match answer.get("prices") {
            Some(prices) => Deserialize::deserialize(prices)
                .map_err(|error| JobError::Dead(format!("the prices of the page do not read: {error}")))?,
            None => BTreeMap::new(),
        };
        let Listed { data, has_more } = lists::read(answer.clone()).ok_or_else(|| JobError::Retry {
            after: None,
            source: format!("the page of {} is not whole", step.phase.word()).into(),
        })?;
        if let Some(other) =
            data.iter().find(|object| object["livemode"].as_bool().is_some_and(|live| live != terms.livemode))
        {
            return Err(JobError::Dead(format!(
                "{} is of the other mode: STRIPE_SECRET_KEY is not this deployment's",
                id_of(other)
            )));
        }
        let next = Step { after: data.last().map(|object| id_of(object).to_owned()), more: has_more, ..step.clone() };
        let (mut entries, mut seen) = (Vec::new(), Vec::new());
        for object in &data {
            let does_not_read = |error| JobError::Dead(format!("{} does not read: {error}", id_of(object)));
            if let Some(entry) = entry(step.phase, object, run, (terms, &prices), &mut seen).map_err(does_not_read)? {
                entries.push(entry);
            }
        }
        Ok(self.put_down(&entries, seen, data.len(), next.compare(false)))
    }
}

impl Read {
    fn put_down(
        &self,
        entries: &[Entry],
        seen: Vec<String>,
        objects: usize,
        next: crate::engine::job::NewJob,
    ) -> Effects {
        let page = Change::Page {
            run: self.0.run.clone(),
            step: self.0.nth,
            phase: self.0.phase.word(),
            objects: i64::try_from(objects).unwrap_or(i64::MAX),
            entries: json!(entries),
            seen,
        };
        Effects { changes: vec![page.into()], follow_ups: vec![next], ..Effects::done() }
    }

    /// Asks for charges with all that belongs to them, and for other objects as they are.
    async fn ask_one_by_one(&self, stripe: &Client) -> Result<Looked, Box<Seen>> {
        let mut entries = Vec::with_capacity(MOST_ASKED);
        for id in self.0.ask.iter().take(MOST_ASKED) {
            let entry = match id.split_once('_') {
                Some(("pi", _)) => match charges::of_intent(stripe, id).await {
                    Ok(Some(charge)) => told(stripe, &charge).await?,
                    Ok(None) => None,
                    Err(seen) if seen.status == Some(404) => None,
                    Err(seen) => return Err(seen),
                },
                Some(("ch" | "py", _)) => told(stripe, id).await?,
                // Asked for with the grants of the month an invoice is looked for; with credit notes, what it gave back.
                Some(("in", _)) if self.0.phase == Phase::CreditNotes => {
                    Some(Entry::Told(Box::new(credit_notes::ask(stripe, id).await?)))
                }
                _ => Some(there(stripe, id).await?),
            };
            entries.extend(entry);
        }
        Ok(Looked::Found(json!(entries)))
    }
}

async fn told(stripe: &Client, charge: &str) -> Result<Option<Entry>, Box<Seen>> {
    match charges::ask(stripe, charge, None).await {
        Ok(told) => Ok(Some(Entry::Told(Box::new(told)))),
        Err(seen) if seen.status == Some(404) => Ok(None),
        Err(seen) => Err(seen),
    }
}

/// Whether an object is there, and paid where it is something to be paid.
async fn there(stripe: &Client, id: &str) -> Result<Entry, Box<Seen>> {
    let missing = |why: String| Entry::Missing { id: id.to_owned(), why };
    let Some(request) = lists::object(id) else {
        return Ok(missing("it is no id of anything that is paid at Stripe".into()));
    };
    let seen = stripe.send(&request, None).await;
    if seen.status == Some(404) {
        return Ok(missing("Stripe does not know it".into()));
    }
    let object = seen.into_success()?;
    let status = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    Ok(match status("object").as_str() {
        "invoice" if status("status") != "paid" => missing(format!("the invoice is {}", status("status"))),
        "checkout.session" if status("payment_status") == "unpaid" => missing("the session is unpaid".into()),
        "transfer" => match serde_json::from_value(object) {
            Ok(transfer) => Entry::Transfer(transfer),
            Err(error) => missing(format!("the Transfer does not read: {error}")),
        },
        _ => Entry::There { id: id.to_owned() },
    })
}

/// Asks for the prices of which the lines of an invoice may charge a part. One that Stripe does not know stays unknown, and is asked once.
async fn read_prices(
    stripe: &Client,
    invoice: &Value,
    prices: &mut BTreeMap<String, Option<Price>>,
) -> Result<(), Box<Seen>> {
    let Ok(mut invoice) = Invoice::deserialize(invoice) else { return Ok(()) };
    invoice.prices = prices.iter().filter_map(|(id, price)| Some((id.clone(), price.clone()?))).collect();
    while let Some(id) = invoice.unknown_price(|id| !prices.contains_key(id)).map(str::to_owned) {
        let seen = stripe.send(&subscriptions::full_price(&id), None).await;
        let price = if seen.status == Some(404) { None } else { Price::deserialize(seen.into_success()?).ok() };
        invoice.prices.extend(price.clone().map(|price| (id.clone(), price)));
        prices.insert(id, price);
    }
    Ok(())
}

fn id_of(object: &Value) -> &str {
    object["id"].as_str().unwrap_or_default()
}

/// What is put down of an object; none where there is nothing to compare. What was seen paid is noted apart.
fn entry(
    phase: Phase,
    object: &Value,
    run: &Run,
    (terms, prices): (&Terms, &BTreeMap<String, Price>),
    seen: &mut Vec<String>,
) -> Result<Option<Entry>, serde_json::Error> {
    Ok(match phase {
        Phase::Invoices => {
            seen.push(id_of(object).to_owned());
            let invoice = PaidInvoice::read(object, prices, terms)?;
            let counts = invoice.paid_at.is_none_or(|at| run.holds(at)) && invoice.is_worth_something();
            counts.then_some(Entry::Invoice(invoice))
        }
        Phase::Sessions => {
            let session = bursar_stripe::checkout::Session::deserialize(object)?;
            let paid = matches!(session.payment_status.as_deref(), Some("paid" | "no_payment_required"));
            if paid {
                seen.push(session.id.clone());
            }
            (paid && session.mode.as_deref() == Some("payment")).then_some(Entry::Session(session))
        }
        Phase::Charges => {
            let charge = Returned::deserialize(object)?;
            (charge.amount_refunded > 0 || charge.disputed).then_some(Entry::Charge(charge))
        }
        Phase::Refunds => Some(Entry::Refund(Back::read(object)?)),
        Phase::Disputes => Some(Entry::Dispute(Back::read(object)?)),
        Phase::CreditNotes => Back::of_credit_note(object)?.map(Entry::Refund),
        Phase::Transfers => {
            seen.push(id_of(object).to_owned());
            Some(Entry::Transfer(serde_json::from_value(object.clone())?))
        }
        Phase::Reversals => Some(Entry::Reversal(Reversal::read(object)?)),
        Phase::Grants | Phase::Payouts | Phase::Months | Phase::Stuck => None,
    })
}
