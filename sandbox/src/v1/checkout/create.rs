//! `POST /v1/checkout/sessions`.

use serde_json::{Value, json};

use super::{super::buyers, discounts, kept, lines, time_is_up};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    params::Params,
    store::with,
    world::World,
};

pub(super) const PARAMS: &[&str] = &[
    "mode",
    "line_items[][price]",
    "line_items[][quantity]",
    "line_items[][price_data]*",
    "line_items[][adjustable_quantity]*",
    "line_items[][tax_rates]*",
    "line_items[][metadata]*",
    "success_url",
    "cancel_url",
    "return_url",
    "redirect_on_completion",
    "customer",
    "customer_email",
    "customer_creation",
    "customer_update*",
    "client_reference_id",
    "metadata*",
    "payment_intent_data*",
    "setup_intent_data*",
    "subscription_data*",
    "allow_promotion_codes",
    "discounts[][coupon]",
    "discounts[][promotion_code]",
    "expires_at",
    "payment_method_types[]",
    "payment_method_options*",
    "payment_method_configuration",
    "payment_method_collection",
    "automatic_tax*",
    "ui_mode",
    "locale",
    "billing_address_collection",
    "shipping_address_collection*",
    "invoice_creation*",
    "submit_type",
    "tax_id_collection*",
    "name_collection*",
    "phone_number_collection*",
    "consent_collection*",
    "custom_text*",
    "saved_payment_method_options*",
    "adaptive_pricing*",
    "currency",
];
/// Seconds that a session stays open; Stripe's default and its most.
const LIFE: i64 = 24 * 60 * 60;
/// Seconds that it stays open at least.
const LEAST_LIFE: i64 = 30 * 60;
/// Seconds that the caller's clock may differ.
const SKEW: i64 = 60;

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    params.required("mode")?;
    let mode = params.choice("mode", &["payment", "subscription", "setup"])?.unwrap_or_default().to_owned();
    let (said, is_hosted) = (said(params, &mode)?, addresses(params)?);
    let customer = params.text("customer")?.filter(|id| !id.is_empty()).map(str::to_owned);
    if customer.is_some() && params.has("customer_email") {
        let message = "You may only specify one of these parameters: customer, customer_email.";
        return Err(Failure::invalid(message).param("customer"));
    }
    let asked = lines::read(params)?;
    if asked.is_empty() && mode != "setup" {
        return Err(params.missing("line_items"));
    }
    let discounts = discounts::read(params)?;
    let expires_at = params.integer("expires_at")?.unwrap_or(world.now + LIFE);
    if !(world.now + LEAST_LIFE - SKEW..=world.now + LIFE + SKEW).contains(&expires_at) {
        let message =
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.";
        return Err(Failure::invalid(message).param("expires_at"));
    }
    let later = after_payment(params, &mode)?;
    let is_trial = is_trial(params, world.now)?;

    world.execute()?;
    if let Some(id) = &customer {
        buyers::buyer(world, id)?;
    }
    let lines = lines::make(world, asked, &mode, is_trial)?;
    let id = world.ids.next("cs_test_");
    let secret = format!("{id}_secret_{}", world.ids.next(""));
    let currency = lines.first().map_or_else(|| said["currency"].clone(), |line| line["currency"].clone());
    let mut session = with(
        with(defaults(), said),
        json!({
            "client_secret": if is_hosted { Value::Null } else { json!(secret) },
            "created": world.now,
            "currency": currency,
            "customer": customer,
            "discounts": discounts,
            "expires_at": expires_at,
            "line_items": { "object": "list", "data": lines, "has_more": false, "url": format!("/v1/checkout/sessions/{id}/line_items") },
            "mode": mode,
            "url": if is_hosted { json!(format!("{}/_sandbox/checkout/{id}", world.url)) } else { Value::Null },
            "id": id,
            "_later": later,
        }),
    );
    lines::add_up(world, &mut session);
    discounts::check(world, &session)?;
    world.store.insert("checkout.session", session.clone());
    // A session is no customer's before it is paid, so that it lives by the sandbox's own clock.
    world.plan("", expires_at, time_is_up, &id);
    Ok(session)
}

/// Fields that are null until something is said or done.
const NULL: &[&str] = &[
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "amount_subtotal",
    "amount_total",
    "billing_address_collection",
    "branding_settings",
    "cancel_url",
    "client_reference_id",
    "collected_information",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer_creation",
    "customer_details",
    "customer_email",
    "invoice",
    "invoice_creation",
    "locale",
    "origin_context",
    "payment_intent",
    "payment_link",
    "permissions",
    "presentment_details",
    "recovered_from",
    "saved_payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
    "subscription",
    "success_url",
    "wallet_options",
];

fn defaults() -> Value {
    let nothing: Value = NULL.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    let own = json!({
        "object": "checkout.session",
        "custom_fields": [],
        "livemode": false,
        "payment_method_collection": "always",
        "payment_method_options": {},
        "payment_status": "unpaid",
        "shipping_options": [],
        "status": "open",
        "ui_mode": "hosted_page",
    });
    with(nothing, own)
}

/// What the caller says, as the session shows it.
fn said(params: &Params, mode: &str) -> Answer {
    let mut said = json!({ "metadata": params.metadata(&json!({}))? });
    for name in [
        "success_url",
        "cancel_url",
        "return_url",
        "client_reference_id",
        "customer_email",
        "currency",
        "locale",
        "submit_type",
        "billing_address_collection",
    ] {
        if let Some(value) = params.nullable(name)? {
            said[name] = value;
        }
    }
    if let Some(allowed) = params.boolean("allow_promotion_codes")? {
        said["allow_promotion_codes"] = json!(allowed);
    }
    if let Some(collection) = params.choice("payment_method_collection", &["always", "if_required"])? {
        said["payment_method_collection"] = json!(collection);
    }
    let creation = params.choice("customer_creation", &["always", "if_required"])?;
    if creation.is_some() && mode == "subscription" {
        return Err(
            Failure::invalid("`customer_creation` can only be used in `payment` mode.").param("customer_creation")
        );
    }
    said["customer_creation"] =
        json!(if mode == "subscription" { "always" } else { creation.unwrap_or("if_required") });
    if params.has("customer") {
        said["customer_creation"] = Value::Null;
    }
    let methods = params.texts("payment_method_types")?;
    said["payment_method_types"] = if methods.is_empty() { json!(["card"]) } else { json!(methods) };
    let taxed = params.below("automatic_tax")?.map(|tax| tax.boolean("enabled")).transpose()?.flatten() == Some(true);
    said["automatic_tax"] = json!({
        "enabled": taxed,
        "liability": taxed.then(|| json!({ "type": "self" })),
        "provider": taxed.then_some("stripe"),
        "status": taxed.then_some("complete"),
    });
    for (name, shape) in [
        (
            "custom_text",
            json!({ "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null }),
        ),
        ("phone_number_collection", json!({ "enabled": false })),
    ] {
        said[name] = with(shape, kept::typed(params.kept(name).filter(Value::is_object).unwrap_or_default()));
    }
    for (name, shape) in [
        ("tax_id_collection", json!({ "enabled": false, "required": "never" })),
        (
            "consent_collection",
            json!({ "payment_method_reuse_agreement": null, "promotions": null, "terms_of_service": null }),
        ),
        (
            "saved_payment_method_options",
            json!({ "allow_redisplay_filters": null, "payment_method_remove": null, "payment_method_save": null }),
        ),
        ("shipping_address_collection", json!({ "allowed_countries": [] })),
        ("name_collection", json!({})),
        ("payment_method_options", json!({})),
        ("adaptive_pricing", json!({ "enabled": false })),
    ] {
        if let Some(given) = params.kept(name).filter(Value::is_object) {
            said[name] = with(shape, kept::typed(given));
        }
    }
    if mode == "payment" {
        said["invoice_creation"] = invoice_creation(params)?;
    } else if params.has("invoice_creation") {
        let message = "You can only enable invoice creation when `mode` is set to `payment`.";
        return Err(Failure::invalid(message).param("invoice_creation"));
    }
    if let Some(update) = params.kept("customer_update").filter(Value::is_object) {
        params.required("customer")?;
        said["_customer_update"] = update;
    }
    Ok(said)
}

fn invoice_creation(params: &Params) -> Answer {
    let given = params.below("invoice_creation")?.unwrap_or_default();
    let data = given.below("invoice_data")?.unwrap_or_default();
    Ok(json!({
        "enabled": given.boolean("enabled")? == Some(true),
        "invoice_data": {
            "account_tax_ids": null, "custom_fields": null, "description": data.nullable("description")?, "footer": data.nullable("footer")?,
            "issuer": null, "metadata": data.metadata(&json!({}))?, "rendering_options": null,
        },
    }))
}

/// Reads where the buyer is sent; answers whether the page is ours.
fn addresses(params: &Params) -> Result<bool, Failure> {
    let modes = ["hosted_page", "embedded_page", "elements", "form", "hosted", "embedded", "custom"];
    let is_hosted = params.choice("ui_mode", &modes)?.is_none_or(|mode| mode.starts_with("hosted"));
    if is_hosted {
        params.required("success_url")?;
    }
    for name in ["success_url", "cancel_url", "return_url"] {
        kept::web_address(params, name)?;
    }
    Ok(is_hosted)
}

/// What is asked of what is made by the payment: `metadata` and `description`, and all of it as it was given.
fn after_payment(params: &Params, mode: &str) -> Answer {
    let own = match mode {
        "subscription" => "subscription_data",
        "setup" => "setup_intent_data",
        _ => "payment_intent_data",
    };
    for other in ["payment_intent_data", "subscription_data", "setup_intent_data"] {
        if other != own && params.has(other) {
            return Err(Failure::invalid(format!("You can not pass `{other}` in `{mode}` mode.")).param(other));
        }
    }
    let data = params.below(own)?.unwrap_or_default();
    data.choice("capture_method", &["automatic", "automatic_async", "manual"])?;
    data.choice("setup_future_usage", &["on_session", "off_session"])?;
    data.choice("proration_behavior", &["create_prorations", "none"])?;
    Ok(json!({
        "metadata": data.metadata(&json!({}))?,
        "description": data.nullable("description")?,
        "given": params.kept(own).filter(Value::is_object).unwrap_or_else(|| json!({})),
    }))
}

fn is_trial(params: &Params, now: i64) -> Result<bool, Failure> {
    let Some(data) = params.below("subscription_data")? else { return Ok(false) };
    let days = data.at_least(1, "trial_period_days")?;
    if days.is_some_and(|days| days > 730) {
        let message = "trial_period_days is at most 730.";
        return Err(Failure::invalid(message).param("subscription_data[trial_period_days]"));
    }
    Ok(days.is_some() || data.integer("trial_end")?.is_some_and(|end| end > now))
}
