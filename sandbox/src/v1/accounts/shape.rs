//! An account as it is when nothing has been said about it.

use serde_json::{Value, json};

use crate::world::World;

pub(super) fn blank(world: &mut World, kind: Option<&str>, by_controller: bool) -> Value {
    let kind = if by_controller { "none" } else { kind.unwrap_or("standard") };
    let requirements = json!({
        "alternatives": [], "current_deadline": null, "currently_due": ["external_account", "tos_acceptance.date"],
        "disabled_reason": "requirements.past_due", "errors": [], "eventually_due": ["external_account", "tos_acceptance.date"],
        "past_due": ["external_account", "tos_acceptance.date"], "pending_verification": [],
    });
    let id = world.ids.next("acct_");
    json!({
        "object": "account",
        "business_profile": { "mcc": null, "name": null, "product_description": null, "support_address": null,
            "support_email": null, "support_phone": null, "support_url": null, "url": null },
        "business_type": null,
        "capabilities": {},
        "charges_enabled": false,
        "controller": { "fees": { "payer": if kind == "standard" { "account" } else { "application" } }, "is_controller": true,
            "losses": { "payments": if kind == "standard" { "stripe" } else { "application" } },
            "requirement_collection": "stripe",
            "stripe_dashboard": { "type": if kind == "standard" { "full" } else { "express" } }, "type": "application" },
        "country": "US",
        "created": world.now,
        "default_currency": "usd",
        "details_submitted": false,
        "email": null,
        "external_accounts": { "object": "list", "data": [], "has_more": false, "total_count": 0,
            "url": format!("/v1/accounts/{id}/external_accounts") },
        "future_requirements": { "alternatives": [], "current_deadline": null, "currently_due": [], "disabled_reason": null,
            "errors": [], "eventually_due": [], "past_due": [], "pending_verification": [] },
        "id": id,
        "metadata": {},
        "payouts_enabled": false,
        "requirements": requirements,
        "settings": {
            "bacs_debit_payments": { "display_name": null, "service_user_number": null },
            "branding": { "icon": null, "logo": null, "primary_color": null, "secondary_color": null },
            "card_payments": { "decline_on": { "avs_failure": false, "cvc_failure": false },
                "statement_descriptor_prefix": null, "statement_descriptor_prefix_kana": null,
                "statement_descriptor_prefix_kanji": null },
            "dashboard": { "display_name": null, "timezone": "Etc/UTC" },
            "payments": { "statement_descriptor": null, "statement_descriptor_kana": null, "statement_descriptor_kanji": null },
            "payouts": { "debit_negative_balances": true, "schedule": { "delay_days": 2, "interval": "daily" },
                "statement_descriptor": null },
            "sepa_debit_payments": {},
        },
        "tos_acceptance": { "date": null, "ip": null, "user_agent": null },
        "type": kind,
    })
}
