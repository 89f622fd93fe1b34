//! The letters of a case: which, to whom, filled with what.

use std::collections::BTreeMap;

use bursar_stripe::invoices::Invoice;
use chrono::{DateTime, TimeDelta, Utc};

use super::{Final, case::Case};
use crate::{base::money, engine::job::NewJob, notifications::send_email::SendLetter, terms::Terms};

/// What a letter's fields are filled with, by name: kept with the call that a letter may follow.
pub(crate) type Fields = BTreeMap<String, String>;

/// The name of a letter by its place among the case's.
pub(crate) fn name(case: &Case, day: u32) -> &'static str {
    let days = &case.schedule.letter_days;
    match days.iter().position(|d| *d == day) {
        Some(0) | None => "payment_failed_first",
        Some(place) if place + 1 == days.len() => "payment_failed_last",
        Some(_) => "payment_failed_again",
    }
}

/// Until when the user has, as a letter of this day says it when it is sent now: the day of the last step, or as long after a letter that
/// is late as there would have been after it in time. None where the last step does nothing.
pub(crate) fn deadline(case: &Case, day: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if case.schedule.last == Final::None {
        return None;
    }
    let due = case.failed_at + TimeDelta::days(i64::from(day));
    let gap = TimeDelta::days(i64::from(case.schedule.final_day.saturating_sub(day)));
    let late = now - due > TimeDelta::days(1);
    let until = if late { now + gap } else { case.final_due() };
    Some(until.max(case.final_due()).max(case.promised_until.unwrap_or(until)))
}

/// What is known of an invoice, for its letters.
pub(crate) fn fields(invoice: &Invoice, until: Option<DateTime<Utc>>, terms: &Terms) -> Fields {
    let mut fields = Fields::new();
    fields.insert("amount".into(), money::format(invoice.amount_remaining, &invoice.currency));
    let portal = terms.dunning.portal_url.as_ref().or(invoice.hosted_invoice_url.as_ref());
    fields.extend(portal.map(|url| ("portal_url".into(), url.clone())));
    fields.extend(invoice.hosted_invoice_url.as_ref().map(|url| ("invoice_url".into(), url.clone())));
    fields.extend(until.map(|until| ("deadline".into(), until.format("%Y-%m-%d").to_string())));
    fields
}

/// The places of the letters that a step may have written, by its name and what came of it.
pub(crate) fn places(step: &str, outcome: Option<&str>) -> Vec<String> {
    let places: &[&str] = match step.split(':').next() {
        Some("letter") if outcome.is_some_and(|said| said.starts_with("card_needed ")) => &["card_needed"],
        Some("letter") => &[step],
        Some("final") => &["access_paused", "access_ended"],
        _ => &[],
    };
    places.iter().map(|&place| place.to_owned()).collect()
}

/// The job that sends one; the place in the case makes it one for ever.
pub(crate) fn job(case: &Case, letter: &str, place: &str, fields: &Fields) -> NewJob {
    let mut one = SendLetter::to_user(letter, &case.user_id, &case.invoice_id);
    for (field, value) in fields {
        one = one.with(field, value.clone());
    }
    one.job(format!("dunning:{}:{place}", case.invoice_id), Some(case.invoice_id.clone()))
}
