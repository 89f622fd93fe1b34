//! `bursar payouts`.

use serde_json::json;

use super::{ask, names, plant};
use crate::support::database;

#[tokio::test]
async fn payouts_are_listed_and_shown() {
    let db = database().await;
    plant(
        &db,
        "INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state, reason, event_id, recorded_at)
         VALUES ('j1', 'r1', 's1', 'research', 2000000, 100, 'usd', 'held', NULL, 'msg_1', now() - interval '1 hour'),
                ('j2', 'r2', NULL, 'research', 2000000, 100, 'jpy', 'skipped', 'Stripe is off', NULL, now())",
    )
    .await;
    let all = ask(&db, &["payouts", "list", "--json"]).ended(0).objects();
    assert_eq!(all.iter().map(|payout| &payout["job_id"]).collect::<Vec<_>>(), ["j2", "j1"]);
    let held = ask(&db, &["payouts", "list", "--state", "held", "--receiver", "r1", "--json"]).ended(0).object();
    assert_eq!(
        names(&held),
        [
            "amount",
            "carried",
            "changed_at",
            "credits",
            "currency",
            "event_id",
            "job_id",
            "netted",
            "reason",
            "receiver_id",
            "recorded_at",
            "returned",
            "reversed",
            "sender_id",
            "skill",
            "state",
            "transfer_amount",
            "transfer_id"
        ]
    );
    assert_eq!((&held["amount"], &held["currency"], &held["credits"]), (&json!(100), &json!("usd"), &json!("2")));
    assert!(ask(&db, &["payouts", "list", "--receiver", "nobody", "--json"]).ended(0).out.is_empty());

    let list = ask(&db, &["payouts", "list"]).ended(0).out;
    assert!(list.contains("1.00 USD") && list.contains("100 JPY") && list.contains("Stripe is off"), "{list}");
    let mut shown = ask(&db, &["payouts", "show", "j1", "--json"]).ended(0).object();
    for list in ["calls", "reversals", "nettings"] {
        assert_eq!(shown.as_object_mut().unwrap().remove(list), Some(json!([])), "{list}");
    }
    assert_eq!(shown, held);
    let page = ask(&db, &["payouts", "show", "j1"]).ended(0).out;
    assert!(page.contains("research (2 credits)") && page.contains("bursar payouts release j1"), "{page}");
    ask(&db, &["payouts", "show", "j3"]).ended(3);
}
