//! `/v1/subscription_items`: the items of subscriptions, one by one; a change of one is a change of its subscription.

use serde_json::{Value, json};

use super::subscriptions::{
    items::{self, ItemDraft},
    update::{self, Change},
};
use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    list,
    params::Params,
    store::text,
    world::World,
};

const CREATE: &[&str] = &[
    "subscription",
    "price",
    "price_data*",
    "quantity",
    "metadata*",
    "proration_behavior",
    "proration_date",
    "payment_behavior",
    "off_session",
];
const UPDATE: &[&str] = &[
    "price",
    "price_data*",
    "quantity",
    "metadata*",
    "proration_behavior",
    "proration_date",
    "payment_behavior",
    "off_session",
];
const DELETE: &[&str] = &["proration_behavior", "proration_date", "clear_usage", "payment_behavior"];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "POST", path: "/v1/subscription_items", params: CREATE, run: create },
    Endpoint {
        method: "GET",
        path: "/v1/subscription_items",
        params: &["subscription", "limit", "starting_after", "ending_before"],
        run: all,
    },
    Endpoint { method: "GET", path: "/v1/subscription_items/{id}", params: &[], run: retrieve },
    Endpoint { method: "POST", path: "/v1/subscription_items/{id}", params: UPDATE, run: update },
    Endpoint { method: "DELETE", path: "/v1/subscription_items/{id}", params: DELETE, run: delete },
];

/// An item that is there, found in its subscription.
fn find(world: &World, id: &str) -> Answer {
    let items = world.store.all("subscription").rev().filter_map(|of| of["items"]["data"].as_array()).flatten();
    items
        .into_iter()
        .find(|item| text(item, "id") == id)
        .cloned()
        .ok_or_else(|| Failure::no_such("subscription_item", id))
}

fn change(params: &Params, draft: ItemDraft) -> Result<Change, Failure> {
    Ok(Change { items: vec![draft], ..update::behaviors(params)? })
}

fn create(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let subscription = params.required("subscription")?.to_owned();
    let draft = items::one(params)?;
    if draft.price.is_none() && draft.data.is_none() {
        return Err(params.missing("price"));
    }
    let change = change(params, draft)?;
    world.execute()?;
    live(world, &subscription)?;
    let after = update::apply(world, &subscription, change)?;
    let newest = after["items"]["data"].as_array().and_then(|items| items.last()).cloned();
    Ok(newest.unwrap_or_default())
}

fn live(world: &World, subscription: &str) -> Result<(), Failure> {
    let of = world.named("subscription", "subscription", subscription, "subscription")?;
    if super::subscriptions::state::is_live(&of) {
        return Ok(());
    }
    Err(Failure::invalid("A canceled subscription can only update its cancellation_details and metadata."))
}

fn retrieve(world: &mut World, call: &Call) -> Answer {
    find(world, call.id())
}

fn update(world: &mut World, call: &Call) -> Answer {
    let params = &call.params;
    let kept = find(world, call.id()).map(|item| item["metadata"].clone()).unwrap_or_default();
    let mut draft = items::one(params)?;
    draft.id = Some(call.id().to_owned());
    draft.metadata = Some(params.metadata(&kept)?);
    let change = change(params, draft)?;
    world.execute()?;
    let subscription = text(&find(world, call.id())?, "subscription").to_owned();
    live(world, &subscription)?;
    update::apply(world, &subscription, change)?;
    find(world, call.id())
}

fn delete(world: &mut World, call: &Call) -> Answer {
    let draft = ItemDraft { id: Some(call.id().to_owned()), deleted: true, ..ItemDraft::default() };
    let change = change(&call.params, draft)?;
    call.params.boolean("clear_usage")?;
    world.execute()?;
    let subscription = text(&find(world, call.id())?, "subscription").to_owned();
    live(world, &subscription)?;
    update::apply(world, &subscription, change)?;
    Ok(json!({ "id": call.id(), "object": "subscription_item", "deleted": true }))
}

fn all(world: &mut World, call: &Call) -> Answer {
    let id = call.params.required("subscription")?;
    let subscription = world.named("subscription", "subscription", id, "subscription")?;
    let items: Vec<&Value> = subscription["items"]["data"].as_array().into_iter().flatten().collect();
    list::page(&items, &call.params, "subscription_item", "/v1/subscription_items")
}
