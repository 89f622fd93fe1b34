//! Where a name leads: to the room of what it names, or to Stripe's dashboard.

use maud::{Markup, html};

/// A path of the console: a room, and the name of what is in it, whatever letters it is made of.
pub(super) fn path(room: &str, name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/{room}/{}", name.replace('+', "%20"))
}

/// A user, by their room.
pub(super) fn user(id: &str) -> Markup {
    html! { a href=(path("accounts", id)) { (id) } }
}

/// An event, by its room.
pub(super) fn event(id: &str) -> Markup {
    html! { a href=(path("events", id)) { (id) } }
}

/// A job, by its room.
pub(super) fn job(id: &str, say: &str) -> Markup {
    html! { a href=(path("jobs", id)) { (say) } }
}

/// A payout, by the verified job that it is owed for.
pub(super) fn payout(job: &str) -> Markup {
    html! { a href=(path("payouts", job)) { (job) } }
}

/// An object: what has a room of its own leads there, what else is Stripe's leads to the dashboard, if there is one.
pub(super) fn object(id: &str, dashboard: Option<&str>) -> Markup {
    html! {
        @if id.starts_with("sub_") { a href=(path("subscriptions", id)) { (id) } }
        @else if id.starts_with("evt_") { (event(id)) }
        @else { (at_stripe(id, dashboard)) }
    }
}

/// An object in Stripe's dashboard; its id alone where there is none, or no page of it is known.
pub(super) fn at_stripe(id: &str, dashboard: Option<&str>) -> Markup {
    const PAGES: &[(&str, &str)] = &[
        ("cus_", "customers/"),
        ("sub_", "subscriptions/"),
        ("in_", "invoices/"),
        ("ch_", "payments/"),
        ("pi_", "payments/"),
        ("du_", "disputes/"),
        ("dp_", "disputes/"),
        ("evt_", "events/"),
        ("acct_", "connect/accounts/"),
        ("tr_", "connect/transfers/"),
        ("price_", "prices/"),
    ];
    // Only what is surely an id of Stripe's becomes a part of an address.
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let page = PAGES.iter().find(|(prefix, _)| plain && id.starts_with(prefix)).map(|(_, page)| *page);
    html! {
        @if let (Some(dashboard), Some(page)) = (dashboard, page) { a rel="noreferrer" href={ (dashboard) (page) (id) } { (id) } }
        @else { (id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_letters_is_one_segment_of_a_path() {
        assert_eq!(path("accounts", "a/b c?é+#"), "/accounts/a%2Fb%20c%3F%C3%A9%2B%23");
    }

    #[test]
    fn only_an_id_of_stripes_leads_to_the_dashboard() {
        let at = |id: &str| at_stripe(id, Some("https://dashboard.stripe.com/test/")).into_string();
        assert!(at("cus_1").contains("href=\"https://dashboard.stripe.com/test/customers/cus_1\""));
        for odd in ["cus_/../x", "job_1", "cus_\"><b>"] {
            assert!(!at(odd).contains("href"), "{odd}");
        }
        assert!(!at_stripe("cus_1", None).into_string().contains("href"));
    }
}
