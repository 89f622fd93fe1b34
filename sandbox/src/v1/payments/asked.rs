//! What is asked of a payment intent, when it is made, changed or confirmed.

use serde_json::{Value, json};

use crate::{
    failure::Failure,
    params::Params,
    store::{text, with},
    v1::{buyers, checkout::kept::web_address, payment_methods},
    world::World,
};

/// What is asked of an intent, read; nothing is changed yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub fields: Vec<(&'static str, Value)>,
    pub method: Option<String>,
    pub data: Option<payment_methods::Draft>,
    pub off_session: bool,
    /// A card whose owner must act is declined instead.
    pub refuses_action: bool,
}

pub(super) fn asked(params: &Params, kept: &Value) -> Result<Asked, Failure> {
    let mut fields = vec![("metadata", params.metadata(kept)?)];
    for name in [
        "customer",
        "description",
        "receipt_email",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "transfer_group",
    ] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    fields.extend(web_address(params, "return_url")?.map(|url| ("_return_url", json!(url))));
    let usage = params.choice("setup_future_usage", &["on_session", "off_session", ""])?;
    fields.extend(usage.map(|usage| ("setup_future_usage", if usage.is_empty() { Value::Null } else { json!(usage) })));
    let capture = params.choice("capture_method", &["automatic", "automatic_async", "manual"])?;
    fields.extend(capture.map(|how| ("capture_method", json!(how))));
    let confirmation = params.choice("confirmation_method", &["automatic", "manual"])?;
    fields.extend(confirmation.map(|how| ("confirmation_method", json!(how))));
    if let Some(shipping) = params.below("shipping")? {
        let blank = json!({ "address": null, "carrier": null, "name": null, "phone": null, "tracking_number": null });
        fields.push(("shipping", with(blank, params.kept("shipping").unwrap_or_default())));
        shipping.required("name")?;
    }
    let mut types = params.texts("payment_method_types")?;
    if let Some(automatic) = params.below("automatic_payment_methods")? {
        let enabled = automatic.boolean("enabled")?.ok_or_else(|| automatic.missing("enabled"))?;
        let redirects = automatic.choice("allow_redirects", &["always", "never"])?.unwrap_or("always");
        if enabled && !types.is_empty() {
            let message =
                "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.";
            return Err(Failure::invalid(message));
        }
        fields.push(("automatic_payment_methods", json!({ "allow_redirects": redirects, "enabled": enabled })));
    }
    if let Some(unknown) =
        types.iter().find(|t| !["card", "sepa_debit", "us_bank_account", "link"].contains(&t.as_str()))
    {
        let message = format!(
            "The payment method type \"{unknown}\" is invalid: the sandbox knows card, link, sepa_debit and us_bank_account."
        );
        return Err(Failure::invalid(message).param("payment_method_types"));
    }
    if !types.is_empty() {
        types.dedup();
        fields.push(("payment_method_types", json!(types)));
    }
    let method = params.text("payment_method")?.filter(|id| !id.is_empty()).map(str::to_owned);
    let data = params.below("payment_method_data")?.map(|data| payment_methods::draft(&data)).transpose()?;
    let off_session = match params.text("off_session")? {
        // Stripe: also `one_off` and `recurring`.
        Some("one_off" | "recurring") => true,
        _ => params.boolean("off_session")?.unwrap_or_default(),
    };
    let refuses_action = params.boolean("error_on_requires_action")?.unwrap_or_default();
    Ok(Asked { fields, method, data, off_session, refuses_action })
}

impl Asked {
    /// Writes what was asked into the intent; answers it and the payment method that is named.
    pub fn apply(self, world: &mut World, mut intent: Value) -> Result<(Value, Option<Value>), Failure> {
        for (name, value) in self.fields {
            intent[name] = value;
        }
        if let Some(customer) = intent["customer"].as_str() {
            buyers::buyer(world, customer)?;
        }
        let method = match (self.method, self.data) {
            (Some(id), _) => Some(payment_methods::resolve(world, &id, "payment_method")?),
            (None, Some(draft)) => Some(draft.make(world)),
            (None, None) => None,
        };
        if let Some(method) = &method {
            usable(&intent, method)?;
            intent["payment_method"] = method["id"].clone();
        }
        Ok((intent, method))
    }
}

/// Whether this intent may be paid with this method.
pub(super) fn usable(intent: &Value, method: &Value) -> Result<(), Failure> {
    let (id, owner) = (text(method, "id"), text(method, "customer"));
    if !owner.is_empty() && owner != text(intent, "customer") {
        let message = format!(
            "The payment method supplied ({id}) belongs to a different Customer ({owner}), so it cannot be used with this \
             PaymentIntent. Pass that customer, or another payment method."
        );
        return Err(Failure::invalid(message).param("payment_method"));
    }
    if owner.is_empty() && method["_used"] == true {
        return Err(payment_methods::spent());
    }
    let kinds = intent["payment_method_types"].as_array().into_iter().flatten();
    let automatic = intent["automatic_payment_methods"]["enabled"] == true;
    if !automatic && !kinds.into_iter().any(|kind| *kind == method["type"]) {
        let message = format!(
            "The PaymentMethod provided ({}) is not allowed for this PaymentIntent. Please attach a PaymentMethod of one of the \
             following types: {}.",
            text(method, "type"),
            intent["payment_method_types"].to_string().replace(['[', ']', '"'], "")
        );
        return Err(Failure::invalid(message).param("payment_method"));
    }
    if text(method, "type") == "sepa_debit" && text(intent, "currency") != "eur" {
        let message = "The currency provided for payment_method type sepa_debit must be eur.";
        return Err(Failure::invalid(message).param("currency"));
    }
    Ok(())
}
