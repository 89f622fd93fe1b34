//! `/v1/stripecli/sessions`: the Stripe CLI asks to listen.

use serde_json::json;

use crate::{
    endpoint::{Call, Endpoint},
    failure::{Answer, Failure},
    listen::socket,
    world::World,
};

/// Seconds after which a listener dials anew; so often that what it missed in between is sent again is not left untried.
const RECONNECT_DELAY: u32 = 60;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: "POST",
    path: "/v1/stripecli/sessions",
    params: &[
        "device_name",
        "websocket_feature",
        "websocket_features[]",
        "filters",
        "forward_to_url",
        "forward_connect_to_url",
        "forward_thin_to_url",
        "forward_thin_connect_to_url",
    ],
    run: create,
}];

fn create(world: &mut World, call: &Call) -> Answer {
    let mut features = call.params.texts("websocket_features")?;
    features.extend(call.params.text("websocket_feature")?.map(str::to_owned));
    if let Some(other) = features.iter().find(|feature| !matches!(feature.as_str(), "webhooks" | "v2_events")) {
        let message =
            format!("The sandbox offers no {other} by websocket: /_sandbox/requests shows what was asked of it.");
        return Err(Failure::invalid(message).param("websocket_features"));
    }
    world.execute()?;
    let (id, secret) = world.open_session();
    let host = world.url.strip_prefix("http://").unwrap_or(&world.url);
    Ok(json!({
        "id": id,
        "object": "stripecli.session",
        "default_version": crate::layout::API_VERSION,
        "display_connect_filter_warning": false,
        "latest_version": crate::layout::API_VERSION,
        "reconnect_delay": RECONNECT_DELAY,
        "secret": secret,
        "websocket_authorized_feature": "webhooks",
        "websocket_id": id,
        "websocket_url": format!("ws://{host}{}", socket::PATH),
    }))
}
