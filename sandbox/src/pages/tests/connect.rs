//! Accounts: onboarded by a person, changed by Stripe, left by their owners.

use serde_json::json;

use super::*;

fn account(world: &mut World) -> String {
    id(&made(
        world,
        "/v1/accounts",
        "type=express&capabilities[transfers][requested]=true&capabilities[card_payments][requested]=true",
    ))
}

fn link(world: &mut World, account: &str) -> String {
    let form = format!(
        "account={account}&type=account_onboarding&refresh_url=https://shop.example/again&return_url=https://shop.example/back"
    );
    let link = made(world, "/v1/account_links", &form);
    assert_eq!((link.get("id"), link["expires_at"].as_i64()), (None, Some(world.now + 300)));
    path(&link)
}

#[test]
fn a_person_is_onboarded() {
    let mut world = world();
    let account = account(&mut world);
    let link = link(&mut world, &account);
    let visit = location(&get(&mut world, &link)).to_owned();
    assert!(get(&mut world, &visit).body.contains(&account));
    let form = "do=active&name=Ann%20%3Cb%3E&email=ann@example.com&bank=DE89370400440532013000";
    assert_eq!(location(&post(&mut world, &visit, form)), "https://shop.example/back");
    let now = got(&mut world, &format!("/v1/accounts/{account}"));
    assert_eq!(
        (&now["capabilities"]["transfers"], &now["payouts_enabled"], &now["charges_enabled"]),
        (&json!("active"), &json!(true), &json!(true))
    );
    assert_eq!(
        (&now["business_profile"]["name"], &now["external_accounts"]["data"][0]["last4"]),
        (&json!("Ann <b>"), &json!("3000"))
    );
    assert_eq!(told(&world, "account.updated"), 2);
    let event = world.store.all("event").find(|event| event["type"] == "account.updated").unwrap();
    assert_eq!(event["account"], account);
    // Neither the link nor the forms work a second time.
    for used in [&link, &visit] {
        assert_eq!(location(&get(&mut world, used)), "https://shop.example/again");
    }
    assert_eq!(location(&post(&mut world, &visit, "do=restricted")), "https://shop.example/again");
    assert_eq!(told(&world, "account.updated"), 2);
}

#[test]
fn a_link_waits_five_minutes_and_leaving_changes_nothing() {
    let mut world = world();
    let account = account(&mut world);
    let late = link(&mut world, &account);
    send(&mut world, "POST", "/_sandbox/advance", r#"{"seconds":300}"#, &[]);
    assert_eq!(location(&get(&mut world, &late)), "https://shop.example/again");
    let left = link(&mut world, &account);
    let visit = location(&get(&mut world, &left)).to_owned();
    assert_eq!(location(&post(&mut world, &visit, "do=leave")), "https://shop.example/back");
    assert_eq!(told(&world, "account.updated"), 0);
    location(&post(&mut world, &visit, "do=restricted&name=Ann"));
    let now = got(&mut world, &format!("/v1/accounts/{account}"));
    assert_eq!(
        (&now["payouts_enabled"], &now["requirements"]["disabled_reason"]),
        (&json!(false), &json!("requirements.past_due"))
    );
}

#[test]
fn an_account_that_its_owner_took_away_cannot_be_told_from_none() {
    for how in ["/_sandbox/accounts/{id}/deauthorize", "/oauth/deauthorize"] {
        let mut world = world();
        let account = account(&mut world);
        let (status, _) = api(
            &mut world,
            "POST",
            &how.replace("{id}", &account),
            if how.starts_with("/oauth") { "client_id=ca_1&stripe_user_id=" } else { "" },
        );
        assert_eq!(status, if how.starts_with("/oauth") { 400 } else { 200 });
        if how.starts_with("/oauth") {
            let gone = made(&mut world, how, &format!("client_id=ca_1&stripe_user_id={account}"));
            assert_eq!(gone, json!({ "stripe_user_id": account }));
        }
        assert_eq!(told(&world, "account.application.deauthorized"), 1);
        for (method, path, body) in [
            ("GET", format!("/v1/accounts/{account}"), String::new()),
            ("POST", format!("/v1/accounts/{account}"), "metadata[a]=b".to_owned()),
            ("GET", format!("/v1/accounts/{account}/capabilities"), String::new()),
            ("POST", format!("/v1/accounts/{account}/login_links"), String::new()),
            ("POST", "/v1/account_links".to_owned(), format!("account={account}&type=account_update")),
            ("DELETE", format!("/v1/accounts/{account}"), String::new()),
        ] {
            let (status, body) = api(&mut world, method, &path, &body);
            assert_eq!((status, &body["error"]["code"]), (403, &json!("account_invalid")), "{method} {path}");
        }
        assert_eq!(api(&mut world, "POST", "/_sandbox/accounts/acct_none/deauthorize", "").0, 404);
    }
}

#[test]
fn capabilities_are_asked_for_one_by_one() {
    let mut world = world();
    let account = account(&mut world);
    let path = format!("/v1/accounts/{account}/capabilities");
    assert_eq!(got(&mut world, &path)["data"].as_array().unwrap().len(), 2);
    let one = got(&mut world, &format!("{path}/transfers"));
    assert_eq!(
        (&one["status"], &one["requested"], &one["account"]),
        (&json!("inactive"), &json!(true), &json!(account))
    );
    assert_eq!(got(&mut world, &format!("{path}/klarna_payments"))["status"], "unrequested");
    send(&mut world, "POST", &format!("/_sandbox/accounts/{account}"), r#"{"state":"active"}"#, &[]);
    assert_eq!(made(&mut world, &format!("{path}/klarna_payments"), "requested=true")["status"], "active");
    assert_eq!(made(&mut world, &format!("{path}/klarna_payments"), "requested=false")["requested"], false);
    assert_eq!(api(&mut world, "GET", &format!("{path}/N%00"), "").0, 404);
}

#[test]
fn an_account_is_rejected_or_deleted() {
    let mut world = world();
    let account = account(&mut world);
    let path = format!("/v1/accounts/{account}");
    assert_eq!(api(&mut world, "POST", &format!("{path}/reject"), "reason=looks").0, 400);
    let rejected = made(&mut world, &format!("{path}/reject"), "reason=fraud");
    assert_eq!(rejected["requirements"]["disabled_reason"], "rejected.fraud");
    world.money.add(&account, "usd", 5);
    assert_eq!(api(&mut world, "DELETE", &path, "").0, 400);
    world.money.add(&account, "usd", -5);
    assert_eq!(
        api(&mut world, "DELETE", &path, ""),
        (200, json!({ "id": account, "object": "account", "deleted": true }))
    );
    assert_eq!(api(&mut world, "GET", &path, "").0, 403);
    assert!(got(&mut world, "/v1/accounts")["data"].as_array().unwrap().is_empty());
    let put = send(&mut world, "POST", &format!("/_sandbox/accounts/{account}"), r#"{"state":"active"}"#, &[]);
    assert_eq!(put.status, 404);
}

#[test]
fn an_express_account_has_pages_of_its_own() {
    let mut world = world();
    let account = account(&mut world);
    let path = format!("/v1/accounts/{account}/login_links");
    assert_eq!(api(&mut world, "POST", &path, "").0, 400);
    send(&mut world, "POST", &format!("/_sandbox/accounts/{account}"), r#"{"state":"active"}"#, &[]);
    let page = super::path(&made(&mut world, &path, ""));
    assert!(get(&mut world, &page).body.contains("transfers: active"));
    location(&post(&mut world, &page, "do=restricted"));
    assert!(get(&mut world, &page).body.contains("individual.verification.document"));
    location(&post(&mut world, &page, "do=deauthorise"));
    assert!(get(&mut world, &page).body.contains("took the access away"));
    let standard = id(&made(&mut world, "/v1/accounts", "type=standard"));
    assert_eq!(api(&mut world, "POST", &format!("/v1/accounts/{standard}/login_links"), "").0, 400);
}
