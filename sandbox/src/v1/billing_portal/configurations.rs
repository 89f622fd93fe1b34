//! `/v1/billing_portal/configurations`: what customers may change by themselves.

use serde_json::{Value, json};

use super::super::checkout::kept::{typed, web_address};
use crate::{
    endpoint::Call,
    failure::{Answer, Failure},
    list,
    params::Params,
    store::with,
    world::World,
};

pub(super) const PARAMS: &[&str] =
    &["active", "business_profile*", "default_return_url", "features*", "login_page*", "metadata*", "name"];
pub(super) const LIST: &[&str] = &["active", "is_default", "limit", "starting_after", "ending_before"];
const KIND: &str = "billing_portal.configuration";

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    if !call.params.has("features") {
        return Err(call.params.missing("features"));
    }
    let given = read(&call.params, &json!({}))?;
    world.execute()?;
    let made = blank(world);
    let made = changed(made, given);
    Ok(world.create(KIND, "billing_portal.configuration.created", made))
}

pub(super) fn update(world: &mut World, call: &Call) -> Answer {
    let kept = world.store.get(KIND, call.id()).map(|c| c["metadata"].clone()).unwrap_or_default();
    let given = read(&call.params, &kept)?;
    world.execute()?;
    let mut changed = changed(world.object(KIND, "configuration", call.id())?, given);
    changed["updated"] = json!(world.now);
    Ok(world.change(KIND, "billing_portal.configuration.updated", changed))
}

pub(super) fn retrieve(world: &mut World, call: &Call) -> Answer {
    world.object(KIND, "configuration", call.id())
}

pub(super) fn all(world: &mut World, call: &Call) -> Answer {
    let mut matching: Vec<&Value> = Vec::new();
    for configuration in world.store.all(KIND).rev() {
        if list::is_asked(configuration, &call.params, "active")?
            && list::is_asked(configuration, &call.params, "is_default")?
        {
            matching.push(configuration);
        }
    }
    list::page(&matching, &call.params, "configuration", "/v1/billing_portal/configurations")
}

/// The one that is used where none is named: Stripe wants it saved in its Dashboard first; here there is none, and it allows all.
pub(crate) fn default(world: &mut World) -> Value {
    let known = world.store.all(KIND).find(|configuration| configuration["is_default"] == json!(true)).cloned();
    known.unwrap_or_else(|| {
        let mut all = blank(world);
        all["is_default"] = json!(true);
        for name in [
            "customer_update",
            "invoice_history",
            "payment_method_update",
            "subscription_cancel",
            "subscription_update",
        ] {
            all["features"][name]["enabled"] = json!(true);
        }
        all["features"]["customer_update"]["allowed_updates"] = json!(["email", "name"]);
        world.store.insert(KIND, all.clone());
        all
    })
}

fn blank(world: &mut World) -> Value {
    json!({
        "id": world.ids.next("bpc_"),
        "object": KIND,
        "active": true,
        "application": null,
        "business_profile": { "headline": null, "privacy_policy_url": null, "terms_of_service_url": null },
        "created": world.now,
        "default_return_url": null,
        "features": {
            "customer_update": { "allowed_updates": [], "enabled": false },
            "invoice_history": { "enabled": false },
            "payment_method_update": { "enabled": false, "payment_method_configuration": null },
            "subscription_cancel": {
                "cancellation_reason": { "enabled": false, "options": [] },
                "enabled": false, "mode": "at_period_end", "proration_behavior": "none",
            },
            "subscription_update": {
                "billing_cycle_anchor": null, "default_allowed_updates": [], "enabled": false, "products": [],
                "proration_behavior": "none", "schedule_at_period_end": { "conditions": [] }, "trial_update_behavior": "end_trial",
            },
        },
        "is_default": false,
        "livemode": false,
        "login_page": { "enabled": false, "url": null },
        "metadata": {},
        "name": null,
        "updated": world.now,
    })
}

fn read(params: &Params, metadata: &Value) -> Answer {
    let mut given = json!({ "metadata": params.metadata(metadata)? });
    if let Some(active) = params.boolean("active")? {
        given["active"] = json!(active);
    }
    if let Some(name) = params.nullable("name")? {
        given["name"] = name;
    }
    if params.has("default_return_url") {
        given["default_return_url"] = json!(web_address(params, "default_return_url")?);
    }
    for name in ["business_profile", "login_page"] {
        if let Some(kept) = params.kept(name).filter(Value::is_object) {
            given[name] = typed(kept);
        }
    }
    let Some(features) = params.below("features")? else { return Ok(given) };
    for name in features.names() {
        let known = [
            "customer_update",
            "invoice_history",
            "payment_method_update",
            "subscription_cancel",
            "subscription_update",
        ];
        if !known.contains(&name.as_str()) {
            let message = format!("Received unknown parameter: features[{name}]");
            return Err(Failure::invalid(message).code("parameter_unknown").param(format!("features[{name}]")));
        }
        let Some(feature) = features.below(&name)? else { continue };
        feature.boolean("enabled")?;
        feature.choice("mode", &["at_period_end", "immediately"])?;
        feature.choice("proration_behavior", &["always_invoice", "create_prorations", "none"])?;
        given["features"][&name] = typed(features.kept(&name).unwrap_or_default());
    }
    Ok(given)
}

fn changed(mut configuration: Value, given: Value) -> Value {
    let Value::Object(fields) = given else { return configuration };
    for (name, value) in fields {
        if let ("features", Value::Object(features)) = (name.as_str(), &value) {
            for (feature, value) in features {
                let kept = configuration["features"][feature].take();
                configuration["features"][feature] = with(kept, value.clone());
            }
        } else if value.is_object() && name != "metadata" {
            let kept = configuration[&name].take();
            configuration[&name] = with(kept, value);
        } else {
            configuration[&name] = value;
        }
    }
    configuration
}
