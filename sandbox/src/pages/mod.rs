//! The pages that a person meets: Checkout, the billing portal, invoices, a receiver's onboarding. Plain forms, no script; each says
//! that this is not Stripe. What a form does, it asks of the API's own functions.

mod authenticate;
mod cards;
mod checkout;
mod connect;
pub(super) mod guard;
mod home;
mod html;
mod invoice;
mod portal;
#[cfg(test)]
mod tests;

use super::{
    failure::Failure,
    message::{Request, Response},
    params,
    world::World,
};
use html::{Html, fill, message};

const LAYOUT: &str = include_str!("templates/layout.html");
const STYLE: &str = include_str!("templates/style.css");

/// What a page's address answers.
#[derive(Debug)]
enum Shown {
    /// A title, and what is below it.
    Page(String, Html),
    /// The same page again, with what went wrong above it.
    Refused(String, Html, Failure),
    /// Something that is not there, or is no more.
    Gone(String, Html),
    /// Elsewhere.
    To(String),
}

/// The fields of a form that was sent.
#[derive(Debug, Default)]
struct Form(Vec<(String, String)>);

impl Form {
    /// A field without white space around it; empty when there is none.
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    fn given(&self, name: &str) -> Option<String> {
        Some(self.get(name)).filter(|value| !value.is_empty()).map(str::to_owned)
    }
}

/// The kind of page that a path is, and the id in it.
fn place(path: &str) -> Option<(&str, &str)> {
    if path == "/" {
        return Some(("home", ""));
    }
    let (kind, id) = path.strip_prefix("/_sandbox/")?.split_once('/')?;
    let is_page = ["checkout", "portal", "invoices", "authenticate", "onboarding", "dashboard", "back"].contains(&kind);
    (is_page && !id.is_empty() && !id.contains('/')).then_some((kind, id))
}

/// Whether a request is for a page and not for the admin or the API.
pub(super) fn is_page(request: &Request) -> bool {
    match request.method.as_str() {
        // The admin's own `POST /_sandbox/accounts/{id}` is in the way of a form there.
        "GET" => place(&request.path).is_some() || is_account(&request.path).is_some(),
        "POST" => place(&request.path).is_some_and(|(kind, _)| kind != "home"),
        _ => false,
    }
}

fn is_account(path: &str) -> Option<&str> {
    path.strip_prefix("/_sandbox/accounts/").filter(|id| !id.is_empty() && !id.contains('/'))
}

/// Where one comes back to in a demonstration that has no application.
fn back(from: &str) -> Shown {
    let told = match from {
        "checkout" => "Paid. Here your application says so: <code>[checkout] success_url</code>.",
        _ => "Done. Here your application goes on: <code>[connect] return_url</code>.",
    };
    let body = fill("<section><p>{{told}}</p></section>", &[("told", Html::own(told))]);
    Shown::Page("Back at your application".to_owned(), body)
}

/// Answers a request for a page, or a form sent from one.
pub(super) fn answer(world: &mut World, request: &Request) -> Response {
    let form = (request.method == "POST").then(|| Form(params::decode(&request.body)));
    if form.is_some() && !guard::is_own(&world.url, world.is_public, request) {
        let told = "<section><p>This form was sent from another site’s page. Open the page again and send it from there.</p></section>";
        return page(403, "Not sent from here", Html::default(), Html::own(told));
    }
    let (kind, id) =
        place(&request.path).or_else(|| Some(("dashboard", is_account(&request.path)?))).unwrap_or_default();
    let shown = match kind {
        "checkout" => checkout::show(world, id, form.as_ref()),
        "portal" => portal::show(world, id, form.as_ref(), &request.query),
        "invoices" => invoice::show(world, id, form.as_ref()),
        "back" => back(id),
        "authenticate" => authenticate::show(world, id, form.as_ref()),
        "onboarding" => connect::onboarding(world, id, form.as_ref()),
        "dashboard" => connect::dashboard(world, id, form.as_ref()),
        _ => home::show(world),
    };
    match shown {
        Shown::Page(title, body) => page(200, &title, Html::default(), body),
        Shown::Gone(title, body) => page(404, &title, Html::default(), body),
        Shown::Refused(title, body, failure) => {
            let status = failure.status;
            page(status, &title, notice("bad", &message(failure)), body)
        }
        // 303: what was sent by a form is fetched, and not sent again.
        Shown::To(address) => Response {
            headers: vec![("Location", address)],
            ..page(303, "Elsewhere", Html::default(), Html::default())
        },
    }
}

/// Something that the reader of a page is to notice.
fn notice(class: &'static str, text: &str) -> Html {
    fill(
        "<p class=\"{{class}}\" role=\"alert\">{{text}}</p>\n",
        &[("class", Html::own(class)), ("text", Html::text(text))],
    )
}

fn page(status: u16, title: &str, notice: Html, body: Html) -> Response {
    let parts = [("title", Html::text(title)), ("style", Html::own(STYLE)), ("notice", notice), ("body", body)];
    let mut response = Response::html(fill(LAYOUT, &parts).into_string());
    response.status = status;
    response.headers.extend(guard::headers(STYLE));
    response
}

/// A link to an address that the API's caller has set; nothing where none was.
fn link(address: &str, label: &str) -> Html {
    if address.is_empty() {
        return Html::default();
    }
    fill("<p><a href=\"{{to}}\">{{label}}</a></p>", &[("to", Html::text(address)), ("label", Html::text(label))])
}

/// Who sells: the site that the buyer goes back to, for a sandbox has no name of a business.
fn seller(address: &str) -> String {
    let host = address.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if host.is_empty() { "bursar sandbox".to_owned() } else { host.to_owned() }
}
