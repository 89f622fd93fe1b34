//! Dunning: a renewal whose payment failed is chased by a case of its own, day by day, and no longer than it is owed.

mod cards;
mod crashes;
mod late;
mod operate;
mod seen;
mod stands_down;
pub mod world;

use world::{DAY, World};

use crate::dev_run::{Folder, said};

const GENERIC: &str = "pm_card_chargeCustomerFail";

/// A day, the days of tries until then, and the letters.
type Seen<'a> = (i64, &'a [i64], &'a [(i64, &'a str)]);

fn letters(all: &[(i64, &str)]) -> Vec<(i64, String)> {
    all.iter().map(|(day, name)| (*day, (*name).to_owned())).collect()
}

#[tokio::test]
async fn a_month_of_dunning_day_by_day() {
    let world = World::new().await;
    world.card(GENERIC).await;
    let invoice = world.renewal_fails().await;
    assert_eq!(world.case().await.0, "open");
    let days: [Seen<'_>; 5] = [
        (0, &[0], &[(0, "payment_failed_first")]),
        (1, &[0, 1], &[(0, "payment_failed_first")]),
        (3, &[0, 1, 3], &[(0, "payment_failed_first"), (3, "payment_failed_again")]),
        (5, &[0, 1, 3, 5], &[(0, "payment_failed_first"), (3, "payment_failed_again"), (5, "payment_failed_last")]),
        (6, &[0, 1, 3, 5], &[(0, "payment_failed_first"), (3, "payment_failed_again"), (5, "payment_failed_last")]),
    ];
    for (day, tries, written) in days {
        world.to_day(day).await;
        assert_eq!(world.tries().await, tries, "day {day}: {:?}", world.steps().await);
        assert_eq!(world.letters().await, letters(written), "day {day}");
        assert!(world.subscription().await["pause_collection"].is_null(), "day {day}");
    }
    world.to_day(7).await;
    assert_eq!(world.tries().await, [0, 1, 3, 5, 7]);
    let paused = world.subscription().await;
    assert_eq!(paused["pause_collection"]["behavior"], "void");
    assert_eq!(paused["metadata"]["dunning"], invoice.as_str());
    assert_eq!(world.letters().await.last().unwrap(), &(7, "access_paused".to_owned()));
    assert_eq!(world.case().await.0, "paused");
    for step in ["retry:1", "retry:3", "retry:5", "retry:7"] {
        assert_eq!(world.step(step).await, ("done".into(), "declined: generic_decline".into()), "{step}");
    }
    assert_eq!(
        world.asked().await,
        [1, 3, 5, 7].map(|day| format!("dunning:{invoice}:retry:{day}:1")),
        "each step under its own key"
    );
    // The rest of the month, and the one after: nothing more.
    world.pass(33 * DAY).await;
    assert_eq!(world.tries().await, [0, 1, 3, 5, 7]);
    assert_eq!(world.letters().await.len(), 4);
    assert_eq!(world.cases().await, 1);
    assert_eq!(world.balance().await, "150", "what fell due in the pause is void, and grants nothing");
    world.is_clean().await;
}

/// As a user plays it: `bursar dev`, its sandbox, its worker, and time that passes.
#[tokio::test]
async fn a_month_of_dunning_is_played_by_advance() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    let sandbox = folder.instance().unwrap().sandbox.unwrap();
    let post = |path: &str, form: &str| {
        let line = format!("curl -s -u sk_test_bursar_sandbox: {sandbox}/{path} -g -d '{form}'");
        let made: serde_json::Value = serde_json::from_str(&said(&folder.paste(&line))).unwrap();
        made["id"].as_str().unwrap_or_default().to_owned()
    };
    post("_sandbox/settings", r#"{"smart_retries": false}"#);
    let customer = post("v1/customers", "metadata[user_id]=dora&email=dora@example.com");
    let card = |name: &str| {
        let method = post(&format!("v1/payment_methods/pm_card_{name}/attach"), &format!("customer={customer}"));
        post(&format!("v1/customers/{customer}"), &format!("invoice_settings[default_payment_method]={method}"));
    };
    card("visa");
    post("v1/subscriptions", &format!("customer={customer}&items[0][price]=price_pro&metadata[user_id]=dora"));
    folder.eventually("SELECT trim_scale(bursar.balance('dora'))::text", "150").await;
    card("chargeCustomerFail");
    let advanced = folder.command(&["sandbox", "advance", "63d", "--json"]).output().unwrap();
    assert!(advanced.status.success(), "{advanced:?}");
    let steps = "SELECT coalesce(string_agg(step || '=' || state, ' ' ORDER BY due_at, day, step), '') FROM bursar.dunning_step";
    folder
        .eventually(
            steps,
            "letter:0=done retry:1=done letter:3=done retry:3=done letter:5=done retry:5=done final:7=done retry:7=done",
        )
        .await;
    folder.eventually("SELECT coalesce(string_agg(state, ' '), '') FROM bursar.dunning_case", "paused").await;
    let lines: Vec<serde_json::Value> =
        said(&advanced).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tries = lines.iter().filter(|line| line["kind"] == "retry_invoice" && line["outcome"] == "done").count();
    assert_eq!(tries, 4, "{lines:?}");
    // Paid at last, it goes on.
    card("visa");
    let unpaid = said(&folder.paste(&format!("curl -s -u sk_test_bursar_sandbox: {sandbox}/v1/invoices?status=open")));
    let unpaid: serde_json::Value = serde_json::from_str(&unpaid).unwrap();
    post(&format!("v1/invoices/{}/pay", unpaid["data"][0]["id"].as_str().unwrap()), "");
    folder
        .eventually("SELECT coalesce(string_agg(state || ' ' || coalesce(outcome, ''), ''), '') FROM bursar.dunning_step WHERE step = 'resume'", "done it goes on")
        .await;
    folder.eventually("SELECT trim_scale(bursar.balance('dora'))::text", "300").await;
}
