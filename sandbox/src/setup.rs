//! How the account is set up, which is done in Stripe's Dashboard: here by `/_sandbox/setup`. And what its keys may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// The account, and what a test puts wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Setup {
    /// Whether it can take payments.
    pub charges_enabled: bool,
    /// What Stripe Tax waits for; it is active where nothing is missing.
    pub tax_missing: Vec<String>,
    /// Seconds that the answers' `Date` is off.
    pub date_off: i64,
    /// Restricted keys (`rk_…`), and what each may do: `rak_charge_read`, `rak_transfer_write`, which reads too.
    pub restricted: BTreeMap<String, Vec<String>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { charges_enabled: true, tax_missing: Vec::new(), date_off: 0, restricted: BTreeMap::new() }
    }
}

impl Setup {
    /// Refuses what a restricted key may not do. A key that nothing was said of may do everything.
    pub fn permit(&self, key: &str, method: &str, path: &str) -> Result<(), Failure> {
        let Some(may) = self.restricted.get(key) else { return Ok(()) };
        let resource = resource(path);
        let wanted = format!("{resource}_{}", if method == "GET" { "read" } else { "write" });
        if may.iter().any(|one| *one == wanted || *one == format!("{resource}_write")) {
            return Ok(());
        }
        let shown: String = key.chars().take(8).collect();
        Err(Failure::new(
            403,
            "invalid_request_error",
            format!(
                "The provided key '{shown}***' does not have the required permissions for this endpoint on account \
                 'acct_sandbox'. Having the '{wanted}' permission would allow this request to continue."
            ),
        ))
    }

    /// An answer's `Date`, where it is not the real one.
    pub fn date(&self, now: i64) -> Option<String> {
        let at = chrono::DateTime::from_timestamp(now.saturating_add(self.date_off), 0)?;
        (self.date_off != 0).then(|| at.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }
}

/// What a permission is called after: `rak_checkout_session` of `/v1/checkout/sessions/{id}`. Some of Stripe's own have older names.
fn resource(path: &str) -> String {
    let names = path.split('/').filter(|part| !["", "v1", "{id}"].contains(part));
    let singular = names.map(|name| name.strip_suffix('s').unwrap_or(name)).collect::<Vec<_>>().join("_");
    match singular.as_str() {
        "webhook_endpoint" => "rak_webhook".to_owned(),
        "price" | "product" => "rak_plan".to_owned(),
        name => format!("rak_{name}"),
    }
}
