//! What is said about a customer, when it is made and later.

use serde_json::{Value, json};

use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    params::{MAX_AMOUNT, Params},
    store::{number, text},
    v1::{buyers, customer_balance, payment_methods},
    world::World,
};

pub(crate) fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get("customer", call.id()).and_then(|c| c.get("metadata")).cloned().unwrap_or_default();
    let asked = asked(&call.params, &kept)?;
    world.execute()?;
    let mut customer = buyers::existing(world, call.id())?;
    set(&mut customer, asked.fields);
    methods(world, &mut customer, asked.method, asked.default)?;
    let more = asked.balance.map_or(0, |balance| balance - number(&customer, "balance"));
    let customer = world.change("customer", "customer.updated", customer);
    if more == 0 {
        return Ok(customer);
    }
    customer_balance::change(world, call.id(), more, "adjustment", None);
    world.object("customer", "customer", call.id())
}

/// What is given, read; nothing is changed yet.
pub(super) struct Asked {
    pub fields: Vec<(&'static str, Value)>,
    /// A payment method to attach.
    pub method: Option<String>,
    /// The payment method of invoices; null unsets it.
    pub default: Option<Value>,
    pub balance: Option<i64>,
}

pub(super) fn asked(params: &Params, metadata: &Value) -> Result<Asked, Failure> {
    let mut fields = vec![("metadata", params.metadata(metadata)?)];
    for name in ["email", "name", "phone", "description", "invoice_prefix", "default_source"] {
        fields.extend(params.nullable(name)?.map(|value| (name, value)));
    }
    for name in ["address", "shipping"] {
        fields.extend(params.kept(name).map(|value| (name, value)));
    }
    if params.has("preferred_locales") {
        fields.push(("preferred_locales", json!(params.texts("preferred_locales")?)));
    }
    let exempt = params.choice("tax_exempt", &["none", "exempt", "reverse"])?;
    fields.extend(exempt.map(|exempt| ("tax_exempt", json!(exempt))));
    let settings = params.below("invoice_settings")?.unwrap_or_default();
    Ok(Asked {
        fields,
        method: params.text("payment_method")?.filter(|id| !id.is_empty()).map(str::to_owned),
        default: settings.nullable("default_payment_method")?,
        balance: params.at_least(-MAX_AMOUNT, "balance")?,
    })
}

pub(super) fn set(object: &mut Value, fields: Vec<(&'static str, Value)>) {
    for (name, value) in fields {
        object[name] = value;
    }
}

/// Gives the customer the payment method that is named, and makes one its default. As with Stripe one name (`pm_card_visa`) in both
/// places is one payment method.
pub(super) fn methods(
    world: &mut World,
    customer: &mut Value,
    method: Option<String>,
    default: Option<Value>,
) -> Result<(), Failure> {
    let id = text(customer, "id").to_owned();
    let mut given = None;
    if let Some(name) = method {
        let object = payment_methods::resolve(world, &name, "payment_method")?;
        given = Some((name, payment_methods::give(world, object, &id)?["id"].clone()));
    }
    let Some(default) = default else { return Ok(()) };
    customer["invoice_settings"]["default_payment_method"] = match (default.as_str(), given) {
        (None, _) => Value::Null,
        (Some(name), Some((same, id))) if name == same => id,
        (Some(name), _) => {
            let param = "invoice_settings[default_payment_method]";
            let object = payment_methods::resolve(world, name, param)?;
            if text(&object, "customer") != id {
                let message = format!(
                    "The customer does not have a payment method with the ID {name}. The payment method must be attached to the customer."
                );
                return Err(Failure::invalid(message).code("resource_missing").param(param));
            }
            object["id"].clone()
        }
    };
    Ok(())
}
