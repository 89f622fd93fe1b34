//! Refills and links: what a paid invoice grants, and to whom.

use super::*;

#[tokio::test]
async fn a_refill_is_granted_once_in_both_layouts_both_types_and_any_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let db = database().await;
        let succeeded = ("/type", json!("invoice.payment_succeeded"));
        let events = [
            event(INVOICE, "evt_0", &[]),
            event(INVOICE, "evt_1", std::slice::from_ref(&succeeded)),
            event(LEGACY, "evt_2", &[]),
            event(LEGACY, "evt_3", &[succeeded]),
        ];
        for i in order {
            receive(&db, &events[i]).await;
            if i == 0 {
                drain(&db, terms()).await;
            }
        }
        drain(&db, terms()).await;
        assert_eq!(balance(&db, "alice").await, "150", "order {order:?}");
        assert_eq!(postings(&db).await, 1);
    }
}

#[tokio::test]
async fn a_tiers_new_name_grants_nothing_again() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_1", &[])).await;
    drain(&db, terms()).await;
    let mut renamed = terms();
    renamed.tiers.iter_mut().filter(|tier| tier.name == "pro").for_each(|tier| tier.name = "professional".into());
    receive(&db, &event(INVOICE, "evt_2", &[("/type", json!("invoice.payment_succeeded"))])).await;
    drain(&db, renamed).await;
    let (state, outcome, reason) = end_of(&db, "evt_2").await;
    assert_eq!((state.as_str(), outcome.as_str()), ("done", "skip"));
    assert!(reason.contains("was refilled as pro before (posting 1)"), "{reason}");
    assert_eq!((balance(&db, "alice").await.as_str(), postings(&db).await), ("150", 1));
}

#[tokio::test]
async fn a_price_that_was_put_right_grants_nothing_again_and_says_what_to_do() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_1", &[])).await;
    drain(&db, terms()).await;
    let mut swapped = terms();
    let (pro, team) = (swapped.tiers[1].prices.clone(), swapped.tiers[2].prices.clone());
    (swapped.tiers[1].prices, swapped.tiers[2].prices) = (team, pro);
    receive(&db, &event(INVOICE, "evt_2", &[("/type", json!("invoice.payment_succeeded"))])).await;
    drain(&db, swapped).await;
    let (state, _, reason) = end_of(&db, "evt_2").await;
    assert_eq!(state, "dead");
    for said in ["refilled as pro", "150 credits", "comes to 500", "bursar credits grant alice 350 --key reconcile:in_"]
    {
        assert!(reason.contains(said), "{said}: {reason}");
    }
    assert_eq!((balance(&db, "alice").await.as_str(), postings(&db).await), ("150", 1));
}

#[tokio::test]
async fn both_layouts_read_alike() {
    let mut seen: Vec<(String, String)> = Vec::new();
    for name in [INVOICE, LEGACY] {
        let db = database().await;
        receive(&db, &event(name, "evt_1", &[])).await;
        drain(&db, terms()).await;
        seen.push(sqlx::query_as("SELECT key, amount::text FROM bursar.posting").fetch_one(&db.pool).await.unwrap());
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn what_a_paid_invoice_refills_follows_the_lines() {
    let cases = [
        (
            "two seats",
            vec![("/data/object/lines/data/0/quantity", json!(2)), ("/data/object/lines/data/0/amount", json!(5000))],
            "300",
            "done",
        ),
        ("a trial", vec![("/data/object/lines/data/0/amount", json!(0))], "0", "skip"),
        (
            "a proration",
            vec![
                ("/data/object/lines/data/0/parent/subscription_item_details/proration", json!(true)),
                ("/data/object/billing_reason", json!("subscription_update")),
            ],
            "0",
            "skip",
        ),
        (
            "a proration of the time that begins",
            vec![("/data/object/lines/data/0/parent/subscription_item_details/proration", json!(true))],
            "150",
            "done",
        ),
        (
            "paid by balance",
            vec![("/data/object/amount_due", json!(0)), ("/data/object/amount_paid", json!(0))],
            "150",
            "done",
        ),
        (
            "another price",
            vec![("/data/object/lines/data/0/pricing/price_details/price", json!("price_other"))],
            "0",
            "dead",
        ),
        ("not paid", vec![("/data/object/status", json!("open"))], "0", "skip"),
        ("more lines", vec![("/data/object/lines/has_more", json!(true))], "0", "skip"),
        ("an unknown word", vec![("/data/object/billing_reason", json!("a_reason_of_2031"))], "150", "done"),
    ];
    for (case, patches, granted, outcome) in cases {
        let db = database().await;
        receive(&db, &event(INVOICE, "evt_1", &patches)).await;
        drain(&db, terms()).await;
        let end = end_of(&db, "evt_1").await;
        assert_eq!((balance(&db, "alice").await.as_str(), end.1.as_str()), (granted, outcome), "{case}: {end:?}");
    }
}

#[tokio::test]
async fn an_invoice_of_whom_two_things_are_said_is_quarantined() {
    let db = database().await;
    receive(&db, &event(INVOICE, "evt_1", &[("/data/object/lines/data/0/metadata", json!({"user_id": "bob"}))])).await;
    drain(&db, terms()).await;
    let end = end_of(&db, "evt_1").await;
    assert_eq!(end.0, "dead");
    assert!(end.2.contains("whose is"), "{end:?}");
}

#[tokio::test]
async fn a_customer_belongs_to_one_user_for_ever() {
    let db = database().await;
    let customer = |id: &str, user: &str| {
        json!({"id": id, "object": "event", "type": "customer.created", "livemode": false,
               "data": {"object": {"id": "cus_1", "object": "customer", "metadata": {"user_id": user}}}})
    };
    receive(&db, &customer("evt_1", "alice")).await;
    drain(&db, terms()).await;
    receive(&db, &customer("evt_2", "bob")).await;
    receive(&db, &customer("evt_3", "alice")).await;
    drain(&db, terms()).await;
    assert_eq!(end_of(&db, "evt_1").await.1, "done");
    assert_eq!(end_of(&db, "evt_2").await.0, "dead");
    assert_eq!(end_of(&db, "evt_3").await.1, "skip");
}

#[tokio::test]
async fn an_invoice_of_nobody_for_a_price_of_nobody_is_not_ours() {
    let db = database().await;
    let mut patches = NO_METADATA.to_vec();
    patches.push(("/data/object/lines/data/0/pricing/price_details/price", json!("price_other")));
    receive(&db, &event(INVOICE, "evt_1", &patches)).await;
    drain(&db, terms()).await;
    let end = end_of(&db, "evt_1").await;
    assert_eq!(end.1, "skip");
    assert!(end.2.contains("not ours"), "{end:?}");
}
