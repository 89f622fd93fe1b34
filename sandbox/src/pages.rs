//! The pages that a person meets. Each says that this is not Stripe.

use super::world::{Response, World};

/// Whether a path below `/_sandbox` is a page and not the admin's.
pub(super) fn is_page(path: &str) -> bool {
    let rest = path.strip_prefix("/_sandbox/").unwrap_or_default();
    ["checkout/", "accounts/", "invoices/"].iter().any(|page| rest.starts_with(page))
}

/// The page of a path.
pub(super) fn show(world: &World, path: &str) -> Response {
    let url = escaped(&world.url);
    let rest = path.strip_prefix("/_sandbox/").unwrap_or_default();
    let text = match rest.split_once('/') {
        Some(("checkout", id)) => {
            let id = escaped(id);
            format!(
                "<p>A Checkout session would be paid here.</p><pre>curl -X POST {url}/_sandbox/checkout/{id}/complete</pre>"
            )
        }
        Some(("accounts", id)) => {
            let id = escaped(id);
            format!(
                "<p>A receiver would be onboarded here.</p>\
                 <pre>curl -X POST {url}/_sandbox/accounts/{id} -d '{{\"state\":\"active\"}}'</pre>"
            )
        }
        Some(("invoices", id)) => {
            let id = escaped(id);
            format!(
                "<p>An invoice would be paid here.</p><pre>curl {url}/v1/invoices/{id}/pay -u sk_test_sandbox: -X POST</pre>"
            )
        }
        _ => format!(
            "<p>It speaks a part of Stripe's API, moves no money, and forgets everything when it stops.</p>\
             <pre>curl {url}/v1/balance -u sk_test_sandbox:\ncurl {url}/_sandbox/ledger</pre>"
        ),
    };
    Response::html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>bursar sandbox</title>\
         <h1>bursar sandbox</h1><p><strong>This is not Stripe.</strong></p>{text}</html>\n"
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
