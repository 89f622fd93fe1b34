//! Letting payouts go, one or all that match, and taking one back: a payer's acts; what they would mean is shown before.

use bursar_jobs::{
    base::{audit::Via, clock},
    desk::{
        access::{Role, Signed},
        bulk::{self, Refused, Releasing},
        payout::Page,
        release::{self, Came, DryRun, Sums},
        reverse::{self, Meaning},
        reverse_payout::{self, Became},
    },
};
use hyper::{Request, StatusCode, body::Incoming};
use maud::{Markup, html};
use sqlx::Connection;

use super::{
    Trouble,
    act::{go_on, operator},
    form::{self, Fields},
    page::{amount, csrf, page, see_other},
    payouts::{self, segment},
    reading,
};
use crate::{api::Api, http::reply::Reply};

fn conflict(say: &str) -> Trouble {
    Trouble::new(StatusCode::CONFLICT, say)
}

/// What a payer can do with one payout.
pub(super) fn forms(signed: &Signed, found: &Page, goes_on: bool) -> Markup {
    let of = &found.payout;
    let path = format!("/payouts/{}", segment(&of.job_id));
    let releasable = matches!(of.state.as_str(), "held" | "skipped" | "rejected" | "unknown" | "sending");
    let reversible = matches!(of.state.as_str(), "held" | "skipped" | "rejected" | "paid");
    html! {
        @if releasable && goes_on { p.quiet { "A job goes on with it by itself: there is nothing to let go." } }
        @else if releasable {
            h2 { "Let it go" }
            form.acts method="post" action={ (path) "/release" } {
                (csrf(signed))
                input type="hidden" name="seen" value={ (of.state) ":" (of.releases) };
                label { "Why (for whoever reads it later)" input name="why" maxlength="2000"; }
                @let sum = amount(of.transfer_amount.unwrap_or(of.amount), &of.currency);
                @if found.is_saved_failure {
                    // The first is what Enter presses: it sends nothing.
                    button { "Look again" }
                    button.act name="after_saved_failure" value="yes" { "Look again, and send " (sum) " under a new key if nothing is there" }
                    span.quiet { "Stripe saved a failure under its key: without a new one nothing is sent." }
                } @else {
                    button.act { "Let go " (sum) }
                }
            }
        }
        @if reversible {
            h2 { "Take it back" }
            form.acts method="post" action={ (path) "/reverse" } {
                (csrf(signed))
                input type="hidden" name="step" value="dry-run";
                label { "How much of it in all, in " (of.currency.to_uppercase()) " (all of it, if empty)" input name="amount" inputmode="decimal" maxlength="20"; }
                label { "Why" input name="why" maxlength="2000" required; }
                button { "Take back …" }
                span.quiet { "What it would mean is shown first." }
            }
        }
    }
}

/// Lets one go.
pub(super) async fn one(api: &Api, signed: &Signed, job: &str, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Payer, request).await?;
    let seen = fields.get("seen").and_then(|seen| seen.split_once(':'));
    let seen = seen.and_then(|(state, releases)| Some((state, releases.parse().ok()?)));
    let seen = seen.ok_or_else(|| Trouble::malformed("The form does not say what was seen. Nothing was changed."))?;
    let after_saved_failure = match fields.get("after_saved_failure") {
        None => false,
        Some("yes") => true,
        Some(_) => return Err(Trouble::malformed("The form is not one of ours. Nothing was changed.")),
    };
    let mut tx = api.pool.begin().await?;
    let asked = release::Asked { job_id: job, after_saved_failure, seen: Some(seen), why: fields.get("why") };
    match release::release(&mut tx, &operator(signed), asked).await? {
        Came::Released(..) => {
            tx.commit().await?;
            Ok(see_other(&format!("/payouts/{}", segment(job))))
        }
        Came::NoSuch => Err(Trouble::not_found(&format!("There is no payout for the job {job}."))),
        Came::Not(state) => {
            Err(conflict(&format!("The payout is {state}: there is nothing to let go, and nothing was changed.")))
        }
        Came::Changed(state) => Err(conflict(&format!(
            "The payout has changed since you looked: it is {state} by now, or was let go meanwhile. Nothing was changed; look again."
        ))),
        Came::GoesOn(_) => Err(conflict("A job goes on with this payout by itself: nothing was changed.")),
        Came::NothingSaved => {
            Err(conflict("No failure is saved under its key, or nobody has looked behind it yet: nothing was changed."))
        }
    }
}

/// Takes one back; what it would mean first.
pub(super) async fn reverse(
    api: &Api,
    signed: &Signed,
    job: &str,
    request: Request<Incoming>,
) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Payer, request).await?;
    let why = fields.get("why").ok_or_else(|| Trouble::malformed("Say why. Nothing was changed."))?;
    let mut db = api.pool.acquire().await?;
    let no_such = || Trouble::not_found(&format!("There is no payout for the job {job}."));
    let currency = sqlx::query_scalar!("SELECT currency FROM bursar.payout WHERE job_id = $1", job)
        .fetch_optional(&mut *db)
        .await?
        .ok_or_else(no_such)?;
    let minor = fields.get("amount").map(|text| reverse::amount(text, &currency)).transpose();
    let minor = minor.map_err(|why| Trouble::malformed(&format!("{why}. Nothing was changed.")))?;
    let by = operator(signed);
    let asked = reverse_payout::Asked {
        job_id: job,
        amount: minor,
        who: &by.who,
        via: Via::Console,
        why,
        after_saved_failure: false,
    };
    let shows = |meaning: &Meaning, changed: bool| {
        let body = html! {
            @if changed { p.say.wait role="alert" { "What it means has changed since it was shown: nothing was done. This is how it stands now." } }
            @for said in &meaning.said { p { (said) } }
            @if meaning.changes {
                form.acts method="post" action={ "/payouts/" (segment(job)) "/reverse" } {
                    (csrf(signed))
                    input type="hidden" name="step" value="act";
                    input type="hidden" name="shown" value=(meaning.seal);
                    @if let Some(amount) = fields.get("amount") { input type="hidden" name="amount" value=(amount); }
                    input type="hidden" name="why" value=(why);
                    button.danger { "Take back " @if let Some(minor) = minor { (amount(minor, &currency)) " in all" } @else { "all of it" } }
                    a href={ "/payouts/" (segment(job)) } { "No" }
                }
            } @else { p { a href={ "/payouts/" (segment(job)) } { "To the payout" } } }
        };
        page(signed, "/payouts", &format!("Take back what was paid for {job}"), &body)
    };
    if fields.get("step") != Some("act") {
        let meaning = reverse::preview(&mut db, asked).await?.ok_or_else(no_such)?;
        return Ok(shows(&meaning, false));
    }
    let mut tx = db.begin().await?;
    let became = match reverse::ask_as_shown(&mut tx, asked, fields.get("shown").unwrap_or_default()).await? {
        Ok(became) => became,
        Err(meaning) => return Ok(shows(&meaning, true)),
    };
    match became {
        Became::NoSuch => Err(no_such()),
        Became::Refused(why, hint) => Err(conflict(&format!("{why}. {hint}. Nothing was changed."))),
        Became::Already(how) => Err(conflict(&format!("It is so already, and nothing was changed: {how}."))),
        Became::Undone(_) | Became::Begun { .. } => {
            tx.commit().await?;
            Ok(see_other(&format!("/payouts/{}", segment(job))))
        }
    }
}

/// Lets all that match go: what it would mean first.
pub(super) async fn all(api: &Api, signed: &Signed, request: Request<Incoming>) -> Result<Reply, Trouble> {
    let fields = form::read(api, signed, Role::Payer, request).await?;
    let _place = reading::place(api).await?;
    let mut db = api.pool.acquire().await?;
    let now = clock::business(&mut *db).await?;
    let filter = payouts::filter(&fields, now)?;
    let shown = |dry: &DryRun, changed: bool| {
        page(signed, "/payouts", "Let all that match go", &confirm(signed, &fields, dry, changed))
    };
    if fields.get("step") != Some("act") {
        let dry = release::dry_run(&mut db, &filter).await?;
        return Ok(shown(&dry, false));
    }
    let odd = || Trouble::malformed("The form does not say what was shown. Nothing was changed.");
    let seal = fields.get("seal").ok_or_else(odd)?;
    let wish = fields.get("wish").filter(|wish| uuid::Uuid::try_parse(wish).is_ok()).ok_or_else(odd)?;
    let wanted = Releasing { filter: &filter, seal, wish: Some(wish), why: fields.get("why") };
    match bulk::begin_release(&mut db, &operator(signed), wanted).await {
        Ok(begun) => {
            go_on(api, &begun.id);
            Ok(see_other(&format!("/bulk/{}", begun.id)))
        }
        // What was confirmed is not what would be done: it is shown again.
        Err(Refused::Changed(dry)) => Ok(shown(&dry, true)),
        Err(Refused::Database(error)) => Err(error.into()),
        Err(other) => Err(Trouble::malformed(&format!("{other}. Nothing was changed."))),
    }
}

fn sums(sums: &Sums) -> String {
    let all: Vec<String> = sums.iter().map(|(currency, sum)| amount(*sum, currency)).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn confirm(signed: &Signed, fields: &Fields, dry: &DryRun, changed: bool) -> Markup {
    html! {
        @if changed { p.say.wait role="alert" { "What matches has changed since it was shown: nothing was done. This is how it stands now." } }
        p { strong { (dry.matching) } " payouts match. What may leave: " strong { (sums(&dry.amounts)) } "." }
        div.cards {
            div.card { b.good { (dry.safe) } span { "safe, " (sums(&dry.sums.safe)) ": nothing was sent for them"
                @if dry.held_again > 0 { "; " (dry.held_again) " of them are held again, for their receivers cannot be paid" } } }
            div.card { b.quiet { (dry.under_way) } span { "under way, " (sums(&dry.sums.under_way)) ": a job goes on with them by itself" } }
            div.card { b.quiet { (dry.done) } span { "already done, " (sums(&dry.sums.done)) ": paid or reversed" } }
            div.card { b.unknown { (dry.unknown) } span { "unknown, " (sums(&dry.sums.unknown)) ": looked for at Stripe first, never sent blindly" } }
        }
        @if !dry.examples.is_empty() {
            h2 { "To look at" }
            ul { @for one in &dry.examples { li { a href={ "/payouts/" (segment(&one.job_id)) } { (one.job_id) } ": " (one.why) } } }
        }
        @if dry.goes() == 0 { p { "Nothing to do." } }
        @else {
            form.acts method="post" action="/payouts" {
                (csrf(signed))
                (payouts::hidden(fields))
                input type="hidden" name="step" value="act";
                input type="hidden" name="seal" value=(dry.seal);
                input type="hidden" name="wish" value=(uuid::Uuid::new_v4());
                label { "Why (for whoever reads it later)" input name="why" maxlength="2000"; }
                button.act { "Let " (dry.goes()) " go" }
                a href="/payouts" { "No" }
            }
        }
    }
}
