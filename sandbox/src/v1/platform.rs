//! `/v1/account`, the platform's own, its tax settings, and lists of what a platform like ours has none of.

use serde_json::{Value, json};

use crate::{
    endpoint::{Call, Endpoint},
    failure::Answer,
    list,
    world::World,
};

const PAGE: &[&str] = &["limit", "starting_after", "ending_before"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/v1/account", params: &[], run: |world, _| Ok(account(world)) },
    Endpoint { method: "GET", path: "/v1/tax/settings", params: &[], run: |world, _| Ok(tax(world)) },
    Endpoint { method: "GET", path: "/v1/payouts", params: PAGE, run: none },
    Endpoint { method: "GET", path: "/v1/topups", params: PAGE, run: none },
    Endpoint { method: "GET", path: "/v1/files", params: PAGE, run: none },
    Endpoint { method: "GET", path: "/v1/issuing/cards", params: PAGE, run: none },
];

fn account(world: &World) -> Value {
    json!({
        "id": "acct_sandbox",
        "object": "account",
        "business_type": "company",
        "capabilities": { "card_payments": "active", "transfers": "active" },
        "charges_enabled": world.setup.charges_enabled,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": true,
        "email": null,
        "metadata": {},
        "payouts_enabled": world.setup.charges_enabled,
        "settings": { "dashboard": { "display_name": "bursar sandbox", "timezone": "Etc/UTC" } },
        "type": "standard",
    })
}

fn tax(world: &World) -> Value {
    let missing = &world.setup.tax_missing;
    let address =
        json!({ "city": null, "country": "US", "line1": null, "line2": null, "postal_code": "94107", "state": "CA" });
    let (status, details) = if missing.is_empty() {
        ("active", json!({ "active": {} }))
    } else {
        ("pending", json!({ "pending": { "missing_fields": missing } }))
    };
    json!({
        "object": "tax.settings",
        "defaults": { "provider": "stripe", "tax_behavior": "inferred_by_currency", "tax_code": "txcd_10000000" },
        "head_office": if missing.iter().any(|field| field == "head_office") { json!(null) } else { json!({ "address": address }) },
        "livemode": false,
        "status": status,
        "status_details": details,
    })
}

fn none(_: &mut World, call: &Call) -> Answer {
    list::page(&[], &call.params, "object", "/v1")
}
