//! What cannot be made to cost: ids that somebody invents, and the attempts of others behind the same proxy.

use std::time::Duration;

use bursar_jobs::base::clock;

use super::shop::{Shop, get, serve};
use crate::{
    support::database,
    web::client::{Client, head},
};

#[tokio::test]
async fn three_hundred_invented_sessions_are_404s_and_at_most_ten_requests_of_stripe() {
    let shop = Shop::open().await;
    for n in 0..300 {
        let reply = shop.get(&format!("/api/stripe/checkout/cs_test_invented{n:040}")).await;
        assert_eq!(reply.status, 404, "{reply:?}");
    }
    let requests = shop.stripe.get("/_sandbox/requests").await;
    let asked = requests.body["requests"].as_array().unwrap().iter();
    let asked = asked.filter(|one| one["path"].as_str().is_some_and(|path| path.contains("invented"))).count();
    assert!((1..=10).contains(&asked), "{asked} requests: {}", requests.text);
    // A session that was made here is asked for as ever.
    let session = shop.checkout(serde_json::json!({"user_id": "alice", "package": "small"})).await;
    shop.pay(&session).await;
    let standing = shop.get(&format!("/api/stripe/checkout/{session}")).await;
    assert!(standing.body.contains("\"granted\""), "{standing:?}");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_visitor_has_guesses_of_their_own() {
    let db = database().await;
    let trusted = bursar::web::Proxies::parse(&["127.0.0.1".to_owned()]).unwrap();
    for (proxies, is_slowed) in [(trusted, false), (bursar::web::Proxies::default(), true)] {
        let (address, _api) = serve(&db.pool, |settings| settings.limits.proxies = proxies).await;
        let guess = async |visitor: &str| {
            let headers = [("authorization", "Bearer guess".to_owned()), ("x-forwarded-for", visitor.to_owned())];
            let begun = clock::monotonic();
            let mut client = Client::connect(address).await;
            client.send(&head("GET", "/api/credits/alice", &headers, 0)).await;
            assert_eq!(client.reply().await.status, 401);
            begun.elapsed()
        };
        for _ in 0..20 {
            guess("203.0.113.7").await;
        }
        assert!(guess("203.0.113.7").await >= Duration::from_secs(1));
        // Another one waits only where nothing tells them apart. What they write to the left themselves counts nowhere.
        let waited = guess("203.0.113.7, 203.0.113.8").await;
        assert_eq!(waited >= Duration::from_secs(1), is_slowed, "{waited:?}");
    }
}

#[tokio::test]
async fn the_consoles_cookie_is_for_tls_alone_where_the_public_address_says_so() {
    use bursar_jobs::desk::access::{self, Role};
    let db = database().await;
    for (is_over_tls, name, secure) in [(false, "bursar_session", false), (true, "__Host-bursar_session", true)] {
        let (address, _api) = serve(&db.pool, |settings| settings.is_over_tls = is_over_tls).await;
        let token = access::create(&db.pool, name, Role::Viewer, "test").await.unwrap().expect("the name is free");
        let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
        let reply = Client::connect(address).await.post("/sign-in", &[form], &format!("token={token}")).await;
        let cookie = reply.header("set-cookie").expect("a cookie").to_owned();
        assert!(cookie.starts_with(&format!("{name}=")) && cookie.contains("; Secure") == secure, "{cookie}");
        // And it lets in.
        let cookie = cookie.split(';').next().unwrap().to_owned();
        assert!(
            get(address, "/", &[("cookie", cookie), ("accept", "text/html".to_owned())])
                .await
                .body
                .contains("Overview")
        );
    }
}

#[tokio::test]
async fn a_development_run_answers_to_this_machines_names_alone() {
    let db = database().await;
    let (address, _api) = serve(&db.pool, |settings| settings.is_for_this_machine = true).await;
    let ask = async |host: &str, origin: Option<&str>| {
        let origin = origin.map_or(String::new(), |origin| format!("origin: {origin}\r\n"));
        let mut client = Client::connect(address).await;
        client.send(&format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n{origin}\r\n")).await;
        client.reply().await.status
    };
    assert_eq!(ask("localhost:3001", None).await, 200);
    assert_eq!(ask("127.0.0.1:3001", Some("http://127.0.0.1:3001")).await, 200);
    assert_eq!(ask("evil.example:3001", None).await, 403);
    assert_eq!(ask("127.0.0.1:3001", Some("http://evil.example")).await, 403);
}
