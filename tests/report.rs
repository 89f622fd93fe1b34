//! The report: its figures beside a count by hand, over weeks that are played through the sandbox.

mod figures;
mod letter;

use bursar_jobs::report::{self, Period, Report};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::dunning::world::{DAY, World};

/// Another subscriber, by a card that pays; the customer and the subscription.
async fn join(world: &World, user: &str, price: &str, more: &str) -> (String, String) {
    let form = format!("email={user}@example.com&metadata[user_id]={user}");
    let customer = world.stripe.post("/v1/customers", &form).await.id();
    card(world, &customer, "pm_card_visa").await;
    let form = format!("customer={customer}&items[0][price]={price}&metadata[user_id]={user}{more}");
    (customer, world.stripe.post("/v1/subscriptions", &form).await.id())
}

async fn card(world: &World, customer: &str, card: &str) {
    let form = format!("customer={customer}");
    let method = world.stripe.post(&format!("/v1/payment_methods/{card}/attach"), &form).await.id();
    let form = format!("invoice_settings[default_payment_method]={method}");
    world.stripe.post(&format!("/v1/customers/{customer}"), &form).await.id();
}

async fn quantity(world: &World, subscription: &str, quantity: i64) {
    let path = format!("/v1/subscriptions/{subscription}");
    let item = world.stripe.get(&path).await.body["items"]["data"][0]["id"].as_str().unwrap().to_owned();
    let form = format!("items[0][id]={item}&items[0][quantity]={quantity}&proration_behavior=none");
    world.stripe.post(&path, &form).await.id();
}

/// The payment intent of a subscription's first invoice, and its charge.
async fn payment(world: &World, subscription: &str) -> (String, String) {
    let path = format!("/v1/invoices?subscription={subscription}&status=paid&limit=1&expand[]=data.payments");
    let invoice = world.stripe.get(&path).await.body["data"][0].clone();
    let intent = invoice["payments"]["data"][0]["payment"]["payment_intent"].as_str().unwrap().to_owned();
    let shown = world.stripe.get(&format!("/v1/payment_intents/{intent}")).await.body;
    (intent, shown["latest_charge"].as_str().unwrap().to_owned())
}

async fn now(world: &World) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT bursar.now()").fetch_one(&world.db.pool).await.unwrap()
}

async fn of(world: &World, from: DateTime<Utc>, to: DateTime<Utc>) -> Report {
    report::of(&mut world.db.pool.acquire().await.unwrap(), Period { from, to }).await.unwrap()
}

/// All balances together, in millionths.
async fn balances(world: &World) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(balance), 0)::bigint FROM bursar.account WHERE unit = 'credits' AND NOT derived",
    )
    .fetch_one(&world.db.pool)
    .await
    .unwrap()
}

async fn run(world: &World, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&world.db.pool).await.unwrap();
}

/// MRR, and what became of it: new, returned, expansion, contraction, churn, involuntary churn.
fn moved(report: &Report) -> [i64; 7] {
    assert_eq!(report.revenue.len(), 1, "one currency");
    let one = &report.revenue[0];
    let sum = one.mrr_before + one.new + one.returned + one.expansion - one.contraction - one.churn;
    assert_eq!(sum, one.mrr, "the parts make the whole: {one:?}");
    [one.mrr, one.new, one.returned, one.expansion, one.contraction, one.churn, one.involuntary_churn]
}

#[tokio::test]
async fn the_figures_are_those_that_a_person_counts() {
    let mut world = World::new().await;
    let product = world.stripe.post("/v1/products", "name=Credits").await.id();
    let price = |interval: &str, amount: i64| {
        format!("product={product}&currency=usd&unit_amount={amount}&recurring[interval]={interval}")
    };
    let monthly = world.stripe.post("/v1/prices", &price("month", 1900)).await.id();
    let annual = world.stripe.post("/v1/prices", &price("year", 22_800)).await.id();
    world.deploy(|terms| terms.tiers[1].prices.extend([monthly.clone(), annual.clone()]));

    // The first week: alice is there already, and six come; one of them for a year, one on trial.
    let begun = now(&world).await - TimeDelta::hours(1);
    join(&world, "bob", &annual, "").await;
    let (_, carol) = join(&world, "carol", &monthly, "").await;
    let (_, dave) = join(&world, "dave", &monthly, "&items[0][quantity]=3").await;
    let (_, erin) = join(&world, "erin", &monthly, "").await;
    let (frank, _) = join(&world, "frank", &monthly, "").await;
    let (grace, _) = join(&world, "grace", &monthly, "").await;
    join(&world, "henry", &monthly, "&trial_period_days=14").await;
    world.pass(DAY).await;
    let first = now(&world).await;
    let one = of(&world, begun, first).await;
    // alice, bob (a twelfth), carol, erin, frank, grace: 19.00 each; dave three of them; henry nothing yet.
    assert_eq!(moved(&one), [17_100, 17_100, 0, 0, 0, 0, 0]);
    assert_eq!((one.revenue[0].users, one.revenue[0].arpu), (7, Some(2443)), "171.00 by seven");
    assert_eq!((one.payments.paid, one.payments.failed), (7, 0), "henry's invoice over nothing is no payment");
    assert_eq!(one.payments.success_percent.as_deref(), Some("100.0"));
    assert_eq!(one.credits.outstanding.micros(), balances(&world).await);
    assert_eq!(one.revenue[0].churn_percent, None, "nobody was there to be lost");

    // The second: up, down, away, one more; a refund, a dispute, something spent; payouts.
    // Stripe's moments are whole seconds: what happens within the second of the cut could be on either side of it.
    world.pass(60 * 60).await;
    quantity(&world, &carol, 2).await;
    quantity(&world, &dave, 1).await;
    world.stripe.send("DELETE", &format!("/v1/subscriptions/{erin}"), "", &[]).await.unwrap();
    let (_, ivan) = join(&world, "ivan", &monthly, "").await;
    world.settle().await;
    let before = of(&world, begun, first).await.credits.outstanding.micros();
    run(&world, "SELECT bursar.spend('alice', 12, 'k')").await;
    let (intent, _) = payment(&world, &world.subscription).await;
    world.stripe.post("/v1/refunds", &format!("payment_intent={intent}")).await.id();
    let (_, charge) = payment(&world, &ivan).await;
    world.stripe.send("POST", &format!("/_sandbox/charges/{charge}/dispute"), "{}", &[]).await.unwrap();
    run(
        &world,
        r#"INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state) VALUES
             ('job-1', 'rita', 's', 1, 700, 'usd', 'held'), ('job-2', 'rita', 's', 1, 300, 'usd', 'unknown');
           SELECT bursar.post('[{"key": "transfer:job-0", "kind": "transfer", "debit": "receiver:rita", "credit": "stripe", "unit": "usd", "amount": 500},
             {"key": "reversal:job-0", "kind": "reversal", "debit": "stripe", "credit": "receiver:rita", "unit": "usd", "amount": 200}]')"#,
    )
    .await;
    world.pass(DAY).await;
    let second = now(&world).await;
    let two = of(&world, first, second).await;
    // 171.00; carol + 19.00, dave - 38.00, erin - 19.00, ivan + 19.00.
    assert_eq!(moved(&two), [15_200, 1900, 0, 1900, 3800, 1900, 0]);
    assert_eq!((two.revenue[0].churned_users, two.revenue[0].churn_percent.as_deref()), (1, Some("14.3")));
    assert_eq!((two.payments.paid, two.payments.failed_attempts), (1, 0), "ivan's");
    let credits = &two.credits;
    assert_eq!((credits.spent.to_string().as_str(), credits.taken_back.to_string().as_str()), ("12", "300"));
    let sum =
        credits.granted.micros() - credits.taken_back.micros() - credits.spent.micros() - credits.expired.micros();
    assert_eq!(before + sum, balances(&world).await, "the parts make the whole: {credits:?}");
    assert_eq!(credits.below_zero.to_string(), "-12", "alice spent what was refunded");
    assert_eq!(credits.outstanding.micros() + credits.below_zero.micros(), balances(&world).await);
    assert_eq!(two.disputes.opened, 1);
    assert!(two.disputes.waiting.len() == 1 && two.disputes.waiting[0].due_by.is_some(), "{:?}", two.disputes);
    let payouts = &two.payouts[0];
    assert_eq!((payouts.paid, payouts.paid_amount, payouts.reversed, payouts.reversed_amount), (1, 500, 1, 200));
    assert_eq!((payouts.held, payouts.held_amount, payouts.unknown, payouts.unknown_amount), (1, 700, 1, 300));

    world.pass(60 * 60).await;
    // Then a month and a week: henry pays after his trial, frank's renewal is recovered by a new card, grace's is lost.
    card(&world, &frank, "pm_card_chargeCustomerFail").await;
    card(&world, &grace, "pm_card_chargeCustomerFail").await;
    world.pass(30 * DAY).await;
    card(&world, &frank, "pm_card_visa").await;
    world.pass(10 * DAY).await;
    let third = now(&world).await;
    let three = of(&world, second, third).await;
    assert_eq!(moved(&three), [15_200, 1900, 0, 0, 0, 1900, 1900]);
    assert_eq!(three.revenue[0].involuntary_percent.as_deref(), Some("14.3"), "one of seven");
    let dunning = &three.dunning;
    assert_eq!((dunning.opened, dunning.recovered, dunning.lost, dunning.open), (2, 1, 1, 0));
    assert_eq!((dunning.recovered_sums[0].amount, dunning.recovered_sums[0].currency.as_str()), (1900, "usd"));
    // alice, carol, dave, frank in the end, henry, ivan; not grace.
    assert_eq!((three.payments.paid, three.payments.failed), (6, 1));
    assert_eq!(three.payments.success_percent.as_deref(), Some("85.7"));
    let attempts = world.stripe.get("/v1/events?type=invoice.payment_failed&limit=100").await.body;
    let attempts = i64::try_from(attempts["data"].as_array().unwrap().len()).unwrap();
    assert!(attempts > 2 && three.payments.failed_attempts == attempts, "{attempts}: {:?}", three.payments);

    // What a week came to stays so, also once the bodies of its events are forgotten.
    run(&world, "UPDATE bursar.event SET body = NULL").await;
    for (old, (from, to)) in [(one, (begun, first)), (two, (first, second)), (three, (second, third))] {
        let new = of(&world, from, to).await;
        assert_eq!((&new.revenue, &new.dunning.recovered_sums), (&old.revenue, &old.dunning.recovered_sums));
        assert_eq!(new.credits, old.credits);
    }
    on_the_screen(&world, third);
}

/// The same by the command: words for people, one object for programs.
fn on_the_screen(world: &World, at: DateTime<Utc>) {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    let days = ["--from", &day(at - TimeDelta::days(60)), "--to", &day(at)];
    let ask = |more: &[&str]| {
        let args = [&["report"][..], &days, more].concat();
        let said = crate::support::bursar(&args).env("DATABASE_URL", &world.db.url).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    let object: Value = serde_json::from_str(&ask(&["--json"])).unwrap();
    assert_eq!(object["revenue"][0]["mrr"], json!(15_200));
    assert_eq!(object["credits"]["spent"], json!("12"));
    let words = ask(&[]);
    for part in ["MRR", "152.00 USD", "Payment success rate", "Lost by dunning", "Disputes to answer", "7.00 USD"] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[tokio::test]
async fn a_period_that_cannot_be_is_wrong_use() {
    let db = crate::support::database().await;
    for wrong in [
        &["--week", "2026-46"][..],
        &["--week", "2026-W54"],
        &["--from", "2026-11-01"],
        &["--from", "2026-11-02", "--to", "2026-11-01"],
        &["--from", "2026-11-01", "--to", "2026-11-02", "--week", "2026-W44"],
        &["--week", "9990-W01"],
        &["--mail", "nobody"],
    ] {
        let args = [&["report"][..], wrong].concat();
        let ended = crate::support::bursar(&args).env("DATABASE_URL", &db.url).output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(2), 0), "{wrong:?}: {ended:?}");
    }
    let empty = crate::support::bursar(&["report", "--json"]).env("DATABASE_URL", &db.url).output().unwrap();
    let empty: Value = serde_json::from_slice(&empty.stdout).unwrap();
    assert_eq!((&empty["payments"]["success_percent"], &empty["revenue"]), (&Value::Null, &json!([])));
}
