//! Subscriptions, as Stripe has them; and one of them, with what was granted for it.

use bursar_jobs::{
    base::clock,
    desk::{
        self,
        access::Signed,
        subscriptions::{self, Month, Place, PlanChange, STATES, Subscription, SubscriptionFilter},
    },
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    Trouble, find,
    form::Fields,
    link,
    page::{ago, at, credits, page, stamp, state, words},
    reading,
};
use crate::{api::Api, http::reply::Reply};

/// What a search is made of.
const FIELDS: &[&str] = &["status", "tier", "user"];
/// Months and changes that are shown.
const MOST: i64 = 36;

pub(super) async fn show(api: &Api, signed: &Signed, query: &Fields) -> Result<Reply, Trouble> {
    find::check(query, &[FIELDS, &["after"]].concat(), "subscriptions")?;
    let filter = SubscriptionFilter {
        status: find::one_of(query, "status", STATES)?,
        tier: find::words(query, "tier"),
        user: find::words(query, "user"),
    };
    let after = find::after(query, Place::read)?;
    let mut db = reading(api).await?;
    let now = clock::business(&mut *db).await?;
    let mut rows = filter.page(&mut db, after.as_ref(), find::probe()).await?;
    let next = find::cut(&mut rows).map(|last| Place::of(&last).word());
    let fields = html! {
        (find::choice(query, "status", "State", STATES))
        (find::text(query, "tier", "Tier"))
        (find::text(query, "user", "Of the user"))
    };
    let body = html! {
        (find::form("/subscriptions", query, FIELDS, &fields))
        div data-live="subscriptions" { (list(&rows, now)) }
        (find::next("/subscriptions", query, FIELDS, next.as_deref(), "Older ones"))
    };
    Ok(page(signed, "/subscriptions", "Subscriptions", &body))
}

/// Subscriptions in a table.
pub(super) fn list(rows: &[Subscription], now: DateTime<Utc>) -> Markup {
    html! {
        @if rows.is_empty() { p { "None." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "subscription" } th { "user" } th { "state" } th { "tier" } th { "access" } th { "changed" } th { "then" } } }
                tbody { @for row in rows {
                    tr {
                        td.id { a href=(link::path("subscriptions", &row.id)) { (row.id) } }
                        td data-th="of" { (link::user(&row.user_id)) }
                        td.is { (state(&row.status)) }
                        td.sum { (row.tier.as_deref().unwrap_or("no tier")) }
                        td data-th="access" { @match row.access_until { Some(until) => { "until " (at(until)) }, None => "none" } }
                        td data-th="changed" { (ago(row.changed_at, now)) }
                        td.why { (row.then(|moment| ago(moment, now))) }
                    }
                } }
            } }
        }
    }
}

pub(super) async fn one(api: &Api, signed: &Signed, id: &str) -> Result<Reply, Trouble> {
    let mut db = reading(api).await?;
    let found = subscriptions::one(&mut db, id).await?.ok_or_else(|| {
        Trouble::not_found(&format!(
            "There is no subscription {id}. One that Stripe has and bursar has not heard of is met in its next event."
        ))
    })?;
    let months = subscriptions::months(&mut db, id, MOST).await?;
    let changes = subscriptions::plan_changes(&mut db, id, MOST).await?;
    let now = clock::business(&mut *db).await?;
    let dashboard = desk::dashboard(&mut *db).await?;
    let find = |name: &str| find::again(&Fields::default(), &[], (name, id));
    let body = html! {
        div data-live="subscription" {
            (facts(&found, now, dashboard))
            p {
                a href={ "/events?" (find("object")) } { "Events about it" } ", "
                a href={ "/jobs?" (find("text")) } { "its jobs" } ", "
                a href={ "/audit?" (find("subject")) } { "what operators did" }
            }
            h2 { "Months that were refilled" }
            (refilled(&months))
            h2 { "Changes of the plan" }
            (changed(&changes, dashboard))
        }
    };
    Ok(page(signed, "/subscriptions", &format!("Subscription {id}"), &body))
}

fn facts(one: &Subscription, now: DateTime<Utc>, dashboard: Option<&str>) -> Markup {
    let said = |moment: DateTime<Utc>| format!("{} ({})", stamp(moment), ago(moment, now));
    let is_paid = !matches!(one.status.as_str(), "past_due" | "unpaid" | "incomplete" | "incomplete_expired");
    html! {
        dl {
            dt { "State" } dd { (state(&one.status)) @if dashboard.is_some() { ", at Stripe: " (link::at_stripe(&one.id, dashboard)) } }
            dt { "User" } dd { (link::user(&one.user_id)) }
            dt { "Access" } dd {
                @match one.access_until {
                    Some(until) => @if one.has_access { strong { "until " (at(until)) } } @else { "was until " (at(until)) },
                    None => "none",
                }
            }
            dt { "Then" } dd { (words(&one.then(said))) }
            dt { "Tier" } dd { (one.tier.as_deref().unwrap_or("none: its price sells no tier")) ", " (credits(one.credits_a_month)) " a month" }
            @if let Some(price) = &one.price {
                dt { "Price" } dd { (one.quantity) " × " (link::at_stripe(price, dashboard)) @if let Some(every) = one.every() { ", paid " (every) } }
            }
            @if let (Some(from), Some(to)) = (one.period_start, one.period_end) { dt { @if is_paid { "Paid period" } @else { "Period" } } dd { (at(from)) " to " (at(to)) @if !is_paid { ", " strong { "not paid" } } } }
            @if let Some(end) = one.trial_end { dt { "Trial" } dd { "until " (at(end)) } }
            @if one.cancel_at_period_end { dt { "At the end of the period" } dd { "it is cancelled" } }
            @if let Some(how) = &one.paused { dt { "Collection" } dd { "paused: invoices are " (how) } }
            @if let Some(schedule) = &one.schedule_id { dt { "Follows" } dd { (schedule) } }
            @if let Some(customer) = &one.customer_id { dt { "Customer" } dd { (link::at_stripe(customer, dashboard)) } }
            dt { "As of" } dd { (at(one.asked_at)) ", when Stripe was last asked" }
        }
    }
}

fn refilled(months: &[Month]) -> Markup {
    html! {
        @if months.is_empty() { p { "None." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "from" } th { "to" } th.n { "refilled" } th.n { "by changes of the plan" } th.n { "posting" } th { "event" } } }
                tbody { @for month in months {
                    tr {
                        td { (at(month.start_at)) } td data-th="to" { (at(month.end_at)) }
                        td.n data-th="refilled" { (credits(month.refilled)) } td.n data-th="by changes" { (credits(month.by_plan_changes)) }
                        td.n data-th=[month.posting.map(|_| "posting")] { @if let Some(posting) = month.posting { (posting) } }
                        td.id { @if let Some(event) = &month.event_id { (link::event(event)) } }
                    }
                } }
            } }
        }
    }
}

fn changed(changes: &[PlanChange], dashboard: Option<&str>) -> Markup {
    html! {
        @if changes.is_empty() { p { "None." } }
        @else {
            div.wide { table.rows {
                thead { tr { th { "when" } th.n { "a month before" } th.n { "a month since" } th { "paid by" } th { "told by" } } }
                tbody { @for change in changes {
                    tr {
                        td { (at(change.at)) } td.n data-th="from" { (credits(change.old)) } td.n data-th="to" { (credits(change.new)) }
                        td.id { @if let Some(invoice) = &change.invoice { (link::at_stripe(invoice, dashboard)) } }
                        td.id { @match &change.event_id { Some(event) => (link::event(event)), None => span.quiet { "seen by looking" } } }
                    }
                } }
            } }
        }
    }
}
