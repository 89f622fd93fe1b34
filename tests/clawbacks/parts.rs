//! What moved decides: a dispute over a part of a charge takes that part, and a credit note takes what it gave back without a refund.

use serde_json::{Value, json};

use super::{bought, moved, world::World};

/// A dispute of `ch_1` over so much of it.
fn disputed(world: &World, id: &str, amount: i64, currency: &str, status: &str) {
    world.dispute(id, status);
    let mut state = world.stub.state.lock().unwrap();
    let dispute = state.disputes.iter_mut().find(|dispute| dispute["id"] == id).unwrap();
    (dispute["amount"], dispute["currency"]) = (json!(amount), json!(currency));
}

/// Stripe withdraws the disputed amount, which may be a part of the charge (Stripe: the Dispute object, `amount`).
#[tokio::test]
async fn a_dispute_over_a_part_takes_that_part_and_won_restores_it() {
    let world = bought().await;
    disputed(&world, "du_1", 900, "usd", "needs_response");
    world.changed("charge.dispute.created").await;
    world.settle_down().await;
    assert_eq!(world.moved().await, moved(&[("clawback:purchase:cs_1:du_1", "60.020006")]), "9.00 of 29.99, of 200");
    disputed(&world, "du_1", 900, "usd", "won");
    world.changed("charge.dispute.closed").await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "200");
    // Two disputes and a refund never take more than all of it.
    disputed(&world, "du_2", 2000, "usd", "lost");
    disputed(&world, "du_3", 2000, "usd", "lost");
    world.refund("re_1", 500, "succeeded");
    world.changed("charge.dispute.closed").await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "0");
    world.verify();
}

#[tokio::test]
async fn a_dispute_in_another_currency_than_its_charge_takes_all_that_is_left() {
    let world = bought().await;
    disputed(&world, "du_1", 900, "eur", "needs_response");
    world.changed("charge.dispute.created").await;
    world.settle_down().await;
    assert_eq!(world.balance("alice").await, "0");
}

/// An invoice of 10.00 in all, as Stripe has it; its refill is granted. Its id, and what it granted.
async fn invoiced(world: &World) -> (String, f64) {
    let invoice = crate::jobs::event(crate::jobs::INVOICE, "evt_invoice", &[]);
    let id = invoice["data"]["object"]["id"].as_str().unwrap().to_owned();
    let object = json!({"id": id, "object": "invoice", "currency": "usd", "status": "paid", "total": 1000, "pre_payment_credit_notes_amount": 0});
    world.stub.state.lock().unwrap().invoices.push(object);
    world.hear(&invoice).await;
    world.settle_down().await;
    let granted = balance(world).await;
    assert!(granted > 0.0);
    (id, granted)
}

async fn balance(world: &World) -> f64 {
    world.balance("alice").await.parse().unwrap()
}

async fn credit_note(world: &World, note: &Value) {
    let mut note = note.clone();
    let more = json!({"object": "credit_note", "currency": "usd", "total": note["post_payment_amount"], "type": "post_payment"});
    note.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    {
        let mut state = world.stub.state.lock().unwrap();
        state.credit_notes.retain(|known| known["id"] != note["id"]);
        state.credit_notes.push(note.clone());
    }
    for kind in ["credit_note.created", "credit_note.updated"] {
        let id = format!("evt_{}", uuid::Uuid::new_v4().simple());
        let object = json!({"id": note["id"], "object": "credit_note", "invoice": note["invoice"]});
        world
            .hear(&json!({"id": id, "object": "event", "type": kind, "livemode": false, "data": {"object": object}}))
            .await;
    }
    world.settle_down().await;
}

/// What a credit note gives after the payment, to the customer's balance or outside of Stripe, went back (Stripe: credit notes).
#[tokio::test]
async fn a_credit_note_after_the_payment_takes_back_in_proportion_once() {
    let world = World::new().await;
    let (invoice, granted) = invoiced(&world).await;
    let note = |id: &str, created: i64, amount: i64, status: &str| json!({"id": id, "invoice": invoice, "status": status, "created": created, "post_payment_amount": amount, "refunds": []});
    credit_note(&world, &note("cn_1", 1, 250, "issued")).await;
    assert!((balance(&world).await - granted * 0.75).abs() < 0.001, "a quarter of it");
    assert_eq!(world.moved().await.len(), 1, "told twice, taken once: {:?}", world.moved().await);
    credit_note(&world, &note("cn_2", 2, 750, "issued")).await;
    assert!(balance(&world).await.abs() < 0.001, "all of it in the end");
    credit_note(&world, &note("cn_1", 1, 250, "void")).await;
    assert!((balance(&world).await - granted * 0.25).abs() < 0.001, "a void one gives back");
    let keys: Vec<String> = world.moved().await.into_iter().map(|(key, _)| key).collect();
    assert!(keys[0].starts_with("clawback:refill:") && keys[0].ends_with(":cn_1"), "{keys:?}");
    assert!(world.dead().await.is_empty(), "{:?}", world.dead().await);
    world.verify();
}

#[tokio::test]
async fn what_a_credit_note_took_off_before_the_payment_or_refunded_is_not_taken_by_it() {
    let world = World::new().await;
    let (invoice, granted) = invoiced(&world).await;
    let linked = json!([{"amount_refunded": 400, "refund": "re_1", "type": "refund"}]);
    let refunded = json!({"id": "cn_1", "invoice": invoice, "status": "issued", "created": 1, "post_payment_amount": 400, "refunds": linked});
    credit_note(&world, &refunded).await;
    let before = json!({"id": "cn_2", "invoice": invoice, "status": "issued", "created": 2, "post_payment_amount": 0, "pre_payment_amount": 100});
    credit_note(&world, &before).await;
    assert!((balance(&world).await - granted).abs() < 0.001);
    assert!(world.moved().await.is_empty(), "{:?}", world.moved().await);
}

#[tokio::test]
async fn a_credit_note_that_is_heard_of_before_its_invoice_takes_from_it_when_it_comes() {
    let world = World::new().await;
    let invoice = crate::jobs::event(crate::jobs::INVOICE, "evt_invoice", &[]);
    let id = invoice["data"]["object"]["id"].as_str().unwrap().to_owned();
    let object = json!({"id": id, "object": "invoice", "currency": "usd", "total": 1000});
    world.stub.state.lock().unwrap().invoices.push(object);
    let note = json!({"id": "cn_1", "invoice": id, "status": "issued", "created": 1, "post_payment_amount": 1000, "refunds": []});
    credit_note(&world, &note).await;
    assert!(world.dead().await.is_empty());
    world.hear(&invoice).await;
    world.settle_down().await;
    assert!(balance(&world).await.abs() < 0.001, "{}", balance(&world).await);
}

/// A refund of the charge and a credit note of its invoice, over all of it each: somebody gave it back twice. No more is taken than was granted.
#[tokio::test]
async fn a_refund_and_a_credit_note_never_take_more_than_was_granted() {
    let world = World::new().await;
    let (invoice, _) = invoiced(&world).await;
    {
        let mut state = world.stub.state.lock().unwrap();
        state
            .charges
            .push(json!({"id": "ch_1", "object": "charge", "amount": 1000, "currency": "usd", "invoice": invoice}));
    }
    world.refund("re_1", 600, "succeeded");
    world.changed("charge.refunded").await;
    world.settle_down().await;
    let note = json!({"id": "cn_1", "invoice": invoice, "status": "issued", "created": 1, "post_payment_amount": 1000, "refunds": []});
    credit_note(&world, &note).await;
    assert!(balance(&world).await >= 0.0, "{}", balance(&world).await);
    assert!(world.dead().await.iter().all(|reason| reason.contains("less is left")), "{:?}", world.dead().await);
    world.verify();
}
