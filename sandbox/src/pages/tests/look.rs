//! Every page: well formed, labelled, legible, and of nobody else's resources.

use proptest::prelude::*;

use super::*;

/// One page of each kind.
fn pages(world: &mut World) -> Vec<Response> {
    paths(world).iter().map(|path| get(world, path)).collect()
}

fn paths(world: &mut World) -> Vec<String> {
    let price = plan(world, "Pro", 1900);
    let open =
        session(world, "allow_promotion_codes=true&payment_method_types[]=card&payment_method_types[]=sepa_debit");
    let authenticating = session(world, "");
    post(world, &path(&authenticating), "quick=4000002760003184");
    let paid = session(world, "");
    post(world, &path(&paid), "quick=4242424242424242");
    let customer = id(&made(world, "/v1/customers", "email=ann@example.com"));
    let subscription = made(
        world,
        "/v1/subscriptions",
        &format!("customer={customer}&items[0][price]={price}&payment_behavior=default_incomplete"),
    );
    plan(world, "Basic", 900);
    let portal = path(&made(
        world,
        "/v1/billing_portal/sessions",
        &format!("customer={customer}&return_url=https://shop.example"),
    ));
    let account = id(&made(world, "/v1/accounts", "type=express"));
    let link = path(&made(world, "/v1/account_links", &format!("account={account}&type=account_update")));
    let visit = location(&get(world, &link)).to_owned();
    let invoice = format!("/_sandbox/invoices/{}", subscription["latest_invoice"].as_str().unwrap());
    let mut paths = vec!["/".to_owned(), path(&open), path(&authenticating), path(&paid), portal, visit, link, invoice];
    paths.extend([
        format!("/_sandbox/accounts/{account}"),
        format!("/_sandbox/dashboard/{account}"),
        "/_sandbox/authenticate/pi_none".to_owned(),
    ]);
    paths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever a form holds, a page answers, and writes none of it as anything but text.
    #[test]
    fn no_form_breaks_a_page(
        forms in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec((0..FIELDS.len(), "\\PC{0,20}|<script>|[0-9 /]{0,19}"), 0..6)), 1..12),
        acts in prop::collection::vec(0..ACTS.len(), 12),
    ) {
        let mut world = world();
        let paths = paths(&mut world);
        for ((path, fields), act) in forms.into_iter().zip(acts) {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("do", ACTS[act]);
            for (name, value) in fields {
                form.append_pair(FIELDS[name], &value);
            }
            let page = post(&mut world, path.get::<String>(&paths), &form.finish());
            prop_assert!(page.status < 500 && !page.body.contains("<script"), "{} {}", page.status, page.body);
        }
    }
}

const FIELDS: &[&str] =
    &["number", "expiry", "cvc", "email", "name", "quick", "promotion_code", "subscription", "price", "bank"];
const ACTS: &[&str] = &[
    "card",
    "free",
    "discount",
    "authenticate",
    "fail",
    "change",
    "cancel",
    "resume",
    "details",
    "active",
    "leave",
    "deauthorise",
    "",
];

/// The tags of a page, each with its attributes, checked to nest.
fn tags(html: &str) -> Vec<&str> {
    let (mut tags, mut open): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for piece in html.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').unwrap_or_else(|| panic!("an unclosed tag: {piece}"));
        let name = tag.split_whitespace().next().unwrap();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "in {html}");
        } else if !["!doctype", "meta", "input"].contains(&name) {
            open.push(name);
        }
        tags.push(tag);
    }
    assert!(open.is_empty(), "{open:?}");
    tags
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

#[test]
fn pages_are_well_formed_and_labelled() {
    for page in pages(&mut world()) {
        let tags = tags(&page.body);
        assert!(page.body.starts_with("<!doctype html>") && page.body.contains("<html lang=\"en\">"));
        assert!(page.body.contains("name=\"viewport\"") && page.body.contains("<strong>This is not Stripe.</strong>"));
        assert_eq!(tags.iter().filter(|tag| tag.starts_with("h1")).count(), 1);
        let labels: Vec<&str> =
            tags.iter().filter(|tag| tag.starts_with("label")).filter_map(|tag| attribute(tag, "for")).collect();
        let mut ids = Vec::new();
        for tag in tags.iter().filter(|tag| tag.starts_with("input") || tag.starts_with("select")) {
            if attribute(tag, "type") != Some("hidden") {
                let id = attribute(tag, "id").unwrap();
                assert!(labels.contains(&id), "{tag} has no label");
                assert!(!ids.contains(&id), "{id} twice in {}", page.body);
                ids.push(id);
            }
        }
        assert!(!page.body.contains("{{"), "{}", page.body);
    }
}

#[test]
fn pages_bring_nothing_from_elsewhere_and_run_nothing() {
    for page in pages(&mut world()) {
        let header = |name| page.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        let policy = header("Content-Security-Policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("frame-ancestors 'none'")
        );
        assert_eq!(header("X-Content-Type-Options"), Some("nosniff"));
        for tag in tags(&page.body) {
            let name = tag.split_whitespace().next().unwrap();
            assert!(!["script", "link", "img", "iframe", "object"].contains(&name), "{tag}");
            assert!(
                attribute(tag, "style").is_none() && !tag.contains(" on") && attribute(tag, "src").is_none(),
                "{tag}"
            );
        }
    }
}

/// WCAG 2.1, relative luminance.
fn luminance(hex: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

#[test]
fn text_is_legible_by_day_and_by_night() {
    let css = super::super::STYLE;
    let night = css.find("@media").unwrap();
    for theme in [&css[..night], &css[night..]] {
        let colour = |name: &str| {
            let from = theme.find(&format!("--{name}: #")).unwrap() + name.len() + 5;
            luminance(&theme[from..from + 6])
        };
        let ratio = |a: &str, b: &str| {
            let (a, b) = (colour(a), colour(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        for (text, ground) in [
            ("ink", "paper"),
            ("ink", "ground"),
            ("faint", "paper"),
            ("act", "paper"),
            ("act", "ground"),
            ("act-ink", "act"),
            ("warn-ink", "warn"),
            ("bad", "ground"),
            ("good", "ground"),
            ("bad", "paper"),
        ] {
            assert!(ratio(text, ground) >= 4.5, "{text} on {ground}: {}", ratio(text, ground));
        }
        // Borders of fields: WCAG 1.4.11.
        assert!(ratio("line", "paper") >= 3.0);
    }
}
