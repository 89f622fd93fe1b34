//! Transfers that nobody knows, payouts without one, payouts that come to no end. Nothing is ever sent by a repair that was not looked for.

use bursar_jobs::ledger::{self, Account, Posting};
use serde_json::{Value, json};

use super::world::{World, found};

impl World {
    /// A receiver with an active account; the account.
    async fn receiver(&self, user: &str) -> String {
        let form = format!("type=express&capabilities[transfers][requested]=true&metadata[user_id]={user}");
        let account = self.stripe.post("/v1/accounts", &form).await.id();
        let path = format!("/_sandbox/accounts/{account}");
        self.stripe.send("POST", &path, r#"{"state": "active"}"#, &[]).await.unwrap();
        let body = json!({"currency": "usd", "available": 100_000}).to_string();
        self.stripe.send("POST", "/_sandbox/balance", &body, &[]).await.unwrap();
        self.hear_all().await;
        account
    }

    /// A verified job of now; its payout follows.
    async fn verified(&self, job: &str, receiver: &str) {
        let at = super::world::now_at(&self.stripe).await;
        let event = json!({"type": "job.verified", "timestamp": at.to_rfc3339(),
                           "data": {"job_id": job, "skill": "research", "receiver_id": receiver, "sender_id": "alice"}});
        let body = serde_json::to_vec(&event).unwrap();
        let envelope = bursar_jobs::inbox::envelope::Envelope::verification(&format!("msg_{job}"), &body).unwrap();
        bursar_jobs::inbox::receive(&self.db.pool, &envelope, &body).await.unwrap();
        self.drain().await;
    }

    async fn transfer_of(&self, job: &str) -> String {
        let (state, transfer): (String, Option<String>) =
            sqlx::query_as("SELECT state, transfer_id FROM bursar.payout WHERE job_id = $1")
                .bind(job)
                .fetch_one(&self.db.pool)
                .await
                .unwrap();
        assert_eq!(state, "paid");
        transfer.unwrap()
    }

    /// A Transfer made behind our back.
    async fn transfer(&self, account: &str, job: &str, amount: i64) -> String {
        let form = format!(
            "amount={amount}&currency=usd&destination={account}&transfer_group=payout:{job}&metadata[job_id]={job}&metadata[user_id]=bob"
        );
        self.stripe.post("/v1/transfers", &form).await.id()
    }

    async fn transfers(&self) -> Vec<Value> {
        self.stripe.get("/v1/transfers?limit=100").await.body["data"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn payouts_that_are_paid_are_no_findings() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verified("job_1", "bob").await;
    world.verified("job_2", "nobody").await;
    world.transfer_of("job_1").await;
    // A Transfer of another product's.
    let account = world.stripe.get("/v1/accounts?limit=1").await.body["data"][0]["id"].as_str().unwrap().to_owned();
    world.stripe.post("/v1/transfers", &format!("amount=5&currency=usd&destination={account}")).await.id();
    world.month_is_over().await;
    assert_eq!(world.reconcile(true).await, []);
    assert_eq!(world.transfers().await.len(), 2);
    world.verify();
}

#[tokio::test]
async fn transfers_that_no_payout_knows_are_listed_and_stay() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    world.verified("job_1", "bob").await;
    let known = world.transfer_of("job_1").await;
    let second = world.transfer(&account, "job_1", 100).await;
    let stranger = world.transfer(&account, "job_never", 100).await;
    world.month_is_over().await;
    let open = [
        found("unknown_transfer", &stranger, "bob", "100 usd", "open"),
        found("unknown_transfer", &second, "bob", "100 usd", "open"),
    ];
    assert_eq!(world.reconcile(true).await, open);
    let (evidence, remedy) = world.evidence("unknown_transfer").await;
    assert!(remedy.contains(&known) && remedy.contains("paid for job_1 already"), "{remedy}");
    assert_eq!(evidence["books"]["transfer_id"], known);
    assert_eq!(world.transfers().await.len(), 3, "nothing is sent, and nothing reversed");
    world.verify();
}

#[tokio::test]
async fn a_payout_whose_transfer_is_there_though_its_job_gave_up_is_paid_by_a_look() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('pay_receiver')").execute(&world.db.pool).await.unwrap();
    world.verified("job_1", "bob").await;
    let made = world.transfer(&account, "job_1", 100).await;
    // Its job was cancelled, and nobody would look again.
    sqlx::query("UPDATE apalis.jobs SET status = 'Killed' WHERE job_type = 'pay_receiver'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&world.db.pool).await.unwrap();
    sqlx::query("UPDATE bursar.payout SET state = 'unknown', changed_at = bursar.now()")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.month_is_over().await;
    let seen = world.reconcile(true).await;
    assert_eq!(
        seen,
        [
            found("unknown_transfer", &made, "bob", "100 usd", "repaired"),
            found("payout_stuck", "job_1", "bob", "100 usd", "repaired"),
        ]
    );
    assert_eq!(world.transfer_of("job_1").await, made);
    assert_eq!(world.transfers().await.len(), 1, "it was looked for, and found");
    assert_eq!(world.reconcile(true).await, []);
    world.verify();
}

#[tokio::test]
async fn a_payout_that_was_never_sent_and_is_stuck_is_looked_for_before_it_is_sent_once() {
    let world = World::new().await;
    world.receiver("bob").await;
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('pay_receiver')").execute(&world.db.pool).await.unwrap();
    world.verified("job_1", "bob").await;
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'pay_receiver'").execute(&world.db.pool).await.unwrap();
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&world.db.pool).await.unwrap();
    sqlx::query("UPDATE bursar.payout SET state = 'sending', changed_at = bursar.now()")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.month_is_over().await;
    assert_eq!(world.reconcile(true).await, [found("payout_stuck", "job_1", "bob", "100 usd", "repaired")]);
    for _ in 0..10 {
        sqlx::query(
            "UPDATE apalis.jobs SET run_at = bursar.now() WHERE status = 'Pending' AND job_type = 'pay_receiver'",
        )
        .execute(&world.db.pool)
        .await
        .unwrap();
        world.drain().await;
    }
    world.transfer_of("job_1").await;
    let asked = world.stripe.get("/_sandbox/requests").await.body;
    let of_transfers: Vec<&str> = asked["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|request| request["path"] == "/v1/transfers" && request.to_string().contains("payout:job_1"))
        .map(|request| request["method"].as_str().unwrap())
        .collect();
    assert_eq!(of_transfers, ["GET", "POST"], "a look, and then one Transfer");
    assert_eq!(world.transfers().await.len(), 1);
    world.verify();
}

#[tokio::test]
async fn a_payout_that_the_books_call_paid_and_stripe_does_not_know_is_never_sent_again() {
    let world = World::new().await;
    world.receiver("bob").await;
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('pay_receiver')").execute(&world.db.pool).await.unwrap();
    world.verified("job_1", "bob").await;
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'pay_receiver'").execute(&world.db.pool).await.unwrap();
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&world.db.pool).await.unwrap();
    let receiver = Account::Receiver("bob".into());
    let mut posting = Posting::new("transfer", "transfer:job_1".into(), receiver, Account::Stripe, "usd", 100);
    posting.reference = Some("tr_nowhere".into());
    ledger::post(&world.db.pool, &[posting]).await.unwrap();
    sqlx::query("UPDATE bursar.payout SET state = 'paid', transfer_id = 'tr_nowhere'")
        .execute(&world.db.pool)
        .await
        .unwrap();
    world.month_is_over().await;
    assert_eq!(world.reconcile(true).await, [found("payout_without_transfer", "job_1", "bob", "100 usd", "open")]);
    let (evidence, remedy) = world.evidence("payout_without_transfer").await;
    assert_eq!(evidence["why"], "Stripe does not know it");
    assert!(remedy.contains("STRIPE_SECRET_KEY"), "{remedy}");
    assert!(world.transfers().await.is_empty());
}

#[tokio::test]
async fn a_transfer_of_another_amount_or_to_another_account_is_found() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    let other = world.receiver("carl").await;
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('pay_receiver')").execute(&world.db.pool).await.unwrap();
    world.verified("job_1", "bob").await;
    world.verified("job_2", "bob").await;
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'pay_receiver'").execute(&world.db.pool).await.unwrap();
    let (more, astray) = (world.transfer(&account, "job_1", 90).await, world.transfer(&other, "job_2", 100).await);
    for (job, transfer) in [("job_1", &more), ("job_2", &astray)] {
        let receiver = Account::Receiver("bob".into());
        let mut posting = Posting::new("transfer", format!("transfer:{job}"), receiver, Account::Stripe, "usd", 100);
        posting.reference = Some(transfer.clone());
        ledger::post(&world.db.pool, &[posting]).await.unwrap();
        sqlx::query("UPDATE bursar.payout SET state = 'paid', transfer_id = $1 WHERE job_id = $2")
            .bind(transfer)
            .bind(job)
            .execute(&world.db.pool)
            .await
            .unwrap();
    }
    world.month_is_over().await;
    let seen = world.reconcile(true).await;
    assert_eq!(
        seen,
        [
            found("transfer_differs", &astray, "bob", "100 usd", "open"),
            found("transfer_differs", &more, "bob", "90 usd", "open"),
        ]
    );
}

#[tokio::test]
async fn a_reversal_that_the_books_do_not_have_is_found() {
    let world = World::new().await;
    world.receiver("bob").await;
    world.verified("job_1", "bob").await;
    let transfer = world.transfer_of("job_1").await;
    let reversal = world.stripe.post(&format!("/v1/transfers/{transfer}/reversals"), "amount=40").await.id();
    world.hear(|_| true).await;
    world.month_is_over().await;
    let seen = world.reconcile(false).await;
    assert_eq!(seen, [found("reversal_not_booked", &reversal, "bob", "40 usd", "open")]);
    let (evidence, _) = world.evidence("reversal_not_booked").await;
    assert_eq!((&evidence["transfer"], &evidence["job_id"]), (&json!(transfer), &json!("job_1")));
}

#[tokio::test]
async fn a_payout_whose_key_is_young_is_left_to_an_operator_for_it_would_be_sent_without_a_look() {
    let world = World::new().await;
    let account = world.receiver("bob").await;
    sqlx::query("INSERT INTO bursar.paused_kind (kind) VALUES ('pay_receiver')").execute(&world.db.pool).await.unwrap();
    world.verified("job_1", "bob").await;
    let made = world.transfer(&account, "job_1", 100).await;
    sqlx::query("DELETE FROM apalis.jobs WHERE job_type = 'pay_receiver'").execute(&world.db.pool).await.unwrap();
    sqlx::query("DELETE FROM bursar.paused_kind").execute(&world.db.pool).await.unwrap();
    world.month_is_over().await;
    // It was recorded by our own clock just now, say of a verification that came late.
    sqlx::query("UPDATE bursar.payout SET recorded_at = bursar.now(), verified_at = bursar.now()")
        .execute(&world.db.pool)
        .await
        .unwrap();
    assert_eq!(world.reconcile(true).await, [found("unknown_transfer", &made, "bob", "100 usd", "open")]);
    assert_eq!(world.transfers().await.len(), 1, "no second one");
    assert!(world.evidence("unknown_transfer").await.1.contains("tomorrow"));
    world.pass(2).await;
    assert_eq!(world.reconcile(true).await, [found("unknown_transfer", &made, "bob", "100 usd", "repaired")]);
    assert_eq!(world.transfer_of("job_1").await, made);
    assert_eq!(world.transfers().await.len(), 1);
    world.verify();
}
