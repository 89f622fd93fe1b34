//! What Stripe must be told in its dashboard before it sells as the settings want: the customer portal, and Stripe Tax.

use bursar_jobs::{
    Stripe as Client,
    stripe_setup::{self as setup, Tax},
};

use crate::config::Settings;

use super::{check::Check, stripe::unseen};

pub(super) async fn portal(client: &Client) -> Check {
    const NAME: &str = "stripe.portal";
    let remedy = "Save the customer portal's settings once in Stripe's dashboard (Settings, Billing, Customer portal).";
    match setup::portals(client).await {
        Err(seen) => unseen(NAME, &seen),
        Ok(all) if all.is_empty() => Check::fail(NAME, "the customer portal is not set up: nobody gets to it", remedy),
        Ok(all) => match all.iter().find(|portal| portal.is_default) {
            Some(portal) => Check::ok(NAME, format!("{} is the default", portal.id)),
            None => Check::fail(NAME, "the customer portal has no default, and bursar names none", remedy),
        },
    }
}

pub(super) async fn tax(client: &Client, settings: &Settings) -> Check {
    const NAME: &str = "stripe.tax";
    if !settings.automatic_tax() {
        return Check::skip(NAME, "`[checkout] automatic_tax` is off");
    }
    match client.look(&setup::tax(), true).await.seen.read::<Tax>() {
        Err(seen) => unseen(NAME, &seen),
        Ok(tax) if tax.status == "active" => Check::ok(NAME, "Stripe Tax is active"),
        Ok(tax) => {
            let missing = tax.missing();
            let missing = if missing.is_empty() { String::new() } else { format!(", missing {}", missing.join(", ")) };
            let remedy = "Finish Stripe Tax in Stripe's dashboard, or turn `[checkout] automatic_tax` off: no checkout begins so.";
            Check::fail(NAME, format!("Stripe Tax is {}{missing}", tax.status), remedy)
        }
    }
}
