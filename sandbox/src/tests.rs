//! The state machine alone: whatever is sent to it, and twice the same.

mod chaos;
mod faults;
mod hostile;
mod keys;
mod meters;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{endpoint::Endpoint, message::Request, v1, world::World};

fn world() -> World {
    World::new("http://127.0.0.1:1".to_owned(), None, 7, 1_000_000)
}

fn request(method: &str, path: &str, body: &str) -> Request {
    let headers = [("authorization", "Bearer sk_test_123456789"), ("idempotency-key", "k")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Request { method: method.to_owned(), path: path.to_owned(), query: String::new(), headers, body: body.into() }
}

fn send(world: &mut World, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut request = request(method, path, body);
    request.headers.retain(|(name, _)| name != "idempotency-key");
    let response = world.handle(1_800_000_000, &request).response;
    (response.status, serde_json::from_str(&response.body).unwrap_or_default())
}

fn made(world: &mut World, path: &str, body: &str) -> String {
    let (status, object) = send(world, "POST", path, body);
    assert_eq!(status, 200, "{object}");
    object["id"].as_str().unwrap().to_owned()
}

/// A world with one of each, so that random requests meet something.
fn furnished() -> (World, Vec<String>) {
    let mut world = world();
    let customer = made(&mut world, "/v1/customers", "email=a@example.com");
    let product = made(&mut world, "/v1/products", "name=Pro");
    let price = made(
        &mut world,
        "/v1/prices",
        &format!("product={product}&currency=usd&unit_amount=1900&recurring[interval]=month"),
    );
    let session = made(
        &mut world,
        "/v1/checkout/sessions",
        &format!("mode=subscription&line_items[0][price]={price}&success_url=https://x.example&customer={customer}"),
    );
    let subscription = made(&mut world, "/v1/subscriptions", &format!("customer={customer}&items[0][price]={price}"));
    let account = made(&mut world, "/v1/accounts", "");
    let transfer = made(&mut world, "/v1/transfers", &format!("amount=100&currency=usd&destination={account}"));
    let method = made(&mut world, "/v1/payment_methods/pm_card_visa/attach", &format!("customer={customer}"));
    let pay = |of: &str| format!("amount=2000&currency=usd&confirm=true&payment_method=pm_card_{of}");
    let open = made(&mut world, "/v1/payment_intents", &format!("{}&capture_method=manual", pay("visa")));
    let intent = made(&mut world, "/v1/payment_intents", &pay("pendingRefund"));
    let refund = made(&mut world, "/v1/refunds", &format!("payment_intent={intent}&amount=5"));
    made(&mut world, "/v1/payment_intents", &pay("createDispute"));
    let last = |kind: &str| world.store.all(kind).next_back().map(|of| of["id"].as_str().unwrap().to_owned()).unwrap();
    let (charge, dispute) = (last("charge"), last("dispute"));
    let ids = vec![customer, product, price, session, subscription, account, transfer];
    (world, [ids, vec![method, open, intent, refund, charge, dispute]].concat())
}

fn routes() -> Vec<&'static Endpoint> {
    v1::ENDPOINTS.iter().copied().flatten().collect()
}

#[test]
fn the_same_requests_give_the_same_answers() {
    let run = || {
        let (mut world, ids) = furnished();
        (ids, send(&mut world, "GET", "/v1/events", "").1)
    };
    assert_eq!(run(), run());
}

/// A route that forgot where its validation ends would have changed something by the time it is refused.
#[test]
fn what_is_refused_at_execution_has_changed_nothing() {
    for route in routes().into_iter().filter(|route| route.method != "GET") {
        let (mut world, ids) = furnished();
        for id in &ids {
            let fault = json!({ "route": route.name(), "fault": "saved_500" }).to_string();
            assert_eq!(send(&mut world, "POST", "/_sandbox/faults", &fault).0, 200);
            let before = (world.store.any(id).cloned(), send(&mut world, "GET", "/v1/events", ""));
            let (status, _) = send(&mut world, route.method, &route.path.replace("{id}", id), &minimal(route, &ids));
            let after = (world.store.any(id).cloned(), send(&mut world, "GET", "/v1/events", ""));
            assert_eq!((status, before), (500, after), "{}", route.name());
        }
    }
}

/// The least that gets a request through validation.
fn minimal(route: &Endpoint, ids: &[String]) -> String {
    let [customer, product, price, _, subscription, account, ..] = ids else { panic!("{ids:?}") };
    match route.path {
        "/v1/account_links" => format!("account={account}&type=account_update"),
        "/v1/billing/meters" => "display_name=Calls&event_name=calls&default_aggregation[formula]=sum".to_owned(),
        "/v1/billing/meter_events" => {
            format!("event_name=calls&payload[stripe_customer_id]={customer}&payload[value]=1")
        }
        "/v1/billing/meter_event_adjustments" => "event_name=calls&type=cancel&cancel[identifier]=x".to_owned(),
        "/v1/accounts/{id}/reject" => "reason=fraud".to_owned(),
        "/v1/billing_portal/configurations" => "features[invoice_history][enabled]=true".to_owned(),
        "/v1/billing_portal/sessions"
        | "/v1/payment_methods/{id}/attach"
        | "/v1/invoices"
        | "/v1/invoices/create_preview" => format!("customer={customer}"),
        "/oauth/deauthorize" => format!("stripe_user_id={account}"),
        "/v1/checkout/sessions" => {
            format!("mode=subscription&line_items[0][price]={price}&success_url=https://x.example")
        }
        "/v1/payment_pages/{id}/confirm" => "payment_method=pm_card_visa".to_owned(),
        "/v1/charges" => "amount=100&currency=usd&source=tok_visa".to_owned(),
        "/v1/customers/{id}/balance_transactions" => "amount=1&currency=usd".to_owned(),
        "/v1/payment_intents" => "amount=100&currency=usd".to_owned(),
        "/v1/payment_methods" => "type=card&card[token]=tok_visa".to_owned(),
        "/v1/refunds" => "charge=ch_none".to_owned(),
        "/v1/credit_notes" => "invoice=in_none&credit_amount=1".to_owned(),
        "/v1/prices" => format!("product={product}&currency=usd&unit_amount=1"),
        "/v1/products" => "name=Team".to_owned(),
        "/v1/coupons" => "percent_off=10".to_owned(),
        "/v1/promotion_codes" => "promotion[type]=coupon&promotion[coupon]=x".to_owned(),
        "/v1/invoiceitems" => format!("customer={customer}&amount=1&currency=usd"),
        "/v1/subscription_items" => format!("subscription={subscription}&price={price}"),
        "/v1/subscription_schedules" => format!("from_subscription={subscription}"),
        "/v1/test_helpers/test_clocks" | "/v1/test_helpers/test_clocks/{id}/advance" => {
            "frozen_time=1900000000".to_owned()
        }
        "/v1/subscriptions" => format!("customer={customer}&items[0][price]={price}"),
        "/v1/transfers" => format!("amount=1&currency=usd&destination={account}"),
        "/v1/webhook_endpoints" => "url=http://127.0.0.1:1&enabled_events[]=*".to_owned(),
        _ => String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any form at any route gets an object or an error in Stripe's shape, and the worst of them is a 4xx.
    #[test]
    fn nothing_that_is_sent_makes_it_panic(
        calls in prop::collection::vec(
            (
                any::<prop::sample::Index>(),
                any::<prop::sample::Index>(),
                prop::collection::vec(
                    (any::<prop::sample::Index>(), prop_oneof![
                        "[a-z]{0,6}", "-?[0-9]{1,20}", Just("usd".to_owned()), Just("true".to_owned()), Just(String::new()), any::<String>(),
                    ], 0..12_usize),
                    0..8,
                ),
                "\\PC{0,40}",
            ),
            1..12,
        ),
    ) {
        let (mut world, ids) = furnished();
        let routes = routes();
        for (route, id, fields, noise) in calls {
            let (route, id) = (route.get(&routes), id.get(&ids));
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, value, shape) in &fields {
                let Some(name) = (!route.params.is_empty()).then(|| name.get(route.params)) else { continue };
                let name = name.replace("[]", "[0]").replace('*', "");
                let name = match shape { 0 => format!("{name}[x]"), 1 => format!("{name}[]"), 2 => format!("{name}[0][price]"), 3 => noise.clone(), _ => name };
                // Ids that are there make requests that go far.
                let value = if *shape > 8 { id } else { value };
                form.append_pair(&name, value);
            }
            let reply = world.handle(1_800_000_000, &request(route.method, &route.path.replace("{id}", id), &form.finish()));
            prop_assert!(reply.response.status < 500);
            let body: Value = serde_json::from_str(&reply.response.body).unwrap();
            if reply.response.status != 200 {
                prop_assert!(body["error"]["type"].is_string() && body["error"]["message"].is_string(), "{}", body);
            }
        }
    }

    /// Any path, any bytes, the admin's included.
    #[test]
    fn any_path_and_any_bytes_are_answered(path in "/(_sandbox|v1)?(/\\PC{0,12}){0,4}", query in "\\PC{0,40}", body in any::<Vec<u8>>()) {
        let (mut world, _) = furnished();
        for method in ["GET", "POST", "DELETE", "PUT"] {
            let mut request = request(method, &path, "");
            (request.query, request.body) = (query.clone(), body.clone());
            let reply = world.handle(1_800_000_000, &request);
            prop_assert!(reply.response.status < 500);
        }
    }
}
