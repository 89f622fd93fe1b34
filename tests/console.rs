//! The console over HTTP: who is let in, what a page says, and what a form may do.

mod acts;
mod browser;
mod crowd;
mod look;
mod money;
mod rooms;
mod sign_in;

use std::net::SocketAddr;

use bursar::stop::Stopper;
use bursar_jobs::desk::access::{self, Role};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    api::shop,
    support::{Database, database, eventually},
    web::client::{Client, Reply, head},
};

struct Desk {
    db: Database,
    address: SocketAddr,
    _stopper: Stopper,
}

/// Somebody who has signed in.
pub struct Visitor {
    address: SocketAddr,
    cookie: String,
    csrf: String,
}

impl Desk {
    async fn open() -> Self {
        let db = database().await;
        let (address, stopper) = shop::serve(&db.pool, |_| {}).await;
        Self { db, address, _stopper: stopper }
    }

    async fn token(&self, name: &str, role: Role) -> String {
        access::create(&self.db.pool, name, role, "test").await.unwrap().expect("the name is free")
    }

    async fn visitor(&self, name: &str, role: Role) -> Visitor {
        enter(self.address, &self.db.pool, name, role).await
    }

    async fn dead(&self, kind: &str, count: i32) -> String {
        let made = "SELECT bursar.enqueue(jsonb_agg(jsonb_build_object('kind', $1::text, 'key', 'k' || n, 'args', '{}'::jsonb, 'max_attempts', 3)))
                    FROM generate_series(1, $2) n";
        sqlx::query(made).bind(kind).bind(count).execute(&self.db.pool).await.unwrap();
        let gave_up = "UPDATE apalis.jobs SET status = 'Failed', done_at = now(), reason = 'the price <b>is</b> unknown' WHERE status = 'Pending'";
        sqlx::query(gave_up).execute(&self.db.pool).await.unwrap();
        sqlx::query_scalar("SELECT max(id) FROM apalis.jobs").fetch_one(&self.db.pool).await.unwrap()
    }

    /// Runs statements of the test's own.
    async fn plant(&self, statements: &'static str) {
        sqlx::raw_sql(statements).execute(&self.db.pool).await.unwrap();
    }

    async fn count(&self, state: &str) -> i64 {
        let count = "SELECT count(*) FROM bursar.job WHERE state = $1";
        sqlx::query_scalar(count).bind(state).fetch_one(&self.db.pool).await.unwrap()
    }
}

/// Signs somebody in who may do so much.
pub async fn enter(address: SocketAddr, pool: &PgPool, name: &str, role: Role) -> Visitor {
    let token = access::create(pool, name, role, "test").await.unwrap().expect("the name is free");
    let came = post(address, "/sign-in", "", &format!("token={token}")).await;
    assert_eq!(came.status, 303, "{}", came.body);
    let cookie = came.header("set-cookie").expect("a cookie");
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = get(address, "/", &cookie).await;
    assert_eq!(page.status, 200);
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    Visitor { address, cookie, csrf: csrf.to_owned() }
}

impl Visitor {
    async fn page(&self, path: &str) -> Reply {
        get(self.address, path, &self.cookie).await
    }

    /// A page that is there, and says all this.
    pub async fn sees(&self, path: &str, all: &[&str]) -> String {
        let page = self.page(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        for words in all {
            assert!(page.body.contains(words), "{words:?} is missing in {path}: {}", page.body);
        }
        page.body
    }

    async fn send(&self, path: &str, fields: &str) -> Reply {
        post(self.address, path, &self.cookie, &format!("csrf={}&{fields}", self.csrf)).await
    }
}

async fn get(address: SocketAddr, path: &str, cookie: &str) -> Reply {
    send(address, "GET", path, cookie, "").await
}

async fn post(address: SocketAddr, path: &str, cookie: &str, body: &str) -> Reply {
    send(address, "POST", path, cookie, body).await
}

async fn send(address: SocketAddr, method: &str, path: &str, cookie: &str, body: &str) -> Reply {
    let headers = [
        ("cookie", cookie.to_owned()),
        ("accept", "text/html,*/*".to_owned()),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
    ];
    let mut client = Client::connect(address).await;
    client.send(&head(method, path, &headers, body.len())).await;
    client.send(body).await;
    client.reply().await
}

#[tokio::test]
async fn nobody_sees_a_page_without_a_session_and_a_revoked_token_ends_its_sessions() {
    let desk = Desk::open().await;
    let rooms =
        ["/events", "/events/x", "/event-types", "/accounts", "/accounts/x", "/subscriptions", "/subscriptions/x"];
    let money = ["/payouts", "/payouts/x", "/dunning", "/reconcile"];
    for path in ["/", "/jobs", "/jobs/x", "/bulk/x", "/schedules", "/audit"].into_iter().chain(rooms).chain(money) {
        let page = get(desk.address, path, "bursar_session=nobody").await;
        assert_eq!(page.status, 401, "{path}");
        assert!(page.body.contains("name=\"token\""), "{path}");
    }
    let anna = desk.visitor("anna", Role::Viewer).await;
    assert_eq!(anna.page("/jobs").await.status, 200);
    assert_eq!(access::revoke(&desk.db.pool, "anna").await.unwrap().as_deref(), Some("viewer"));
    assert_eq!(anna.page("/jobs").await.status, 401);

    let ben = desk.visitor("ben", Role::Viewer).await;
    assert_eq!(ben.send("/sign-out", "").await.status, 303);
    assert_eq!(ben.page("/").await.status, 401);
    let old = desk.visitor("carl", Role::Viewer).await;
    sqlx::query("UPDATE bursar.session SET seen_at = seen_at - interval '3 hours'")
        .execute(&desk.db.pool)
        .await
        .unwrap();
    assert_eq!(old.page("/").await.status, 401, "an idle session is over");
}

#[tokio::test]
async fn who_guesses_tokens_waits() {
    let desk = Desk::open().await;
    for _ in 0..5 {
        assert_eq!(post(desk.address, "/sign-in", "", "token=bursar_guess").await.status, 401);
    }
    let token = desk.token("anna", Role::Viewer).await;
    let came = post(desk.address, "/sign-in", "", &format!("token={token}")).await;
    assert_eq!((came.status, came.header("retry-after").is_some()), (429, true));
}

#[tokio::test]
async fn a_form_is_taken_from_its_own_session_by_its_role_and_nothing_else_changes() {
    let desk = Desk::open().await;
    let id = desk.dead("pay_receiver", 1).await;
    let (viewer, operator, payer) = (
        desk.visitor("vera", Role::Viewer).await,
        desk.visitor("olga", Role::Operator).await,
        desk.visitor("paul", Role::Payer).await,
    );
    let path = format!("/jobs/{id}/retry");
    assert_eq!(viewer.send(&path, "").await.status, 403);
    let released = operator.send(&path, "").await;
    assert_eq!(released.status, 403, "a retry that releases money takes a payer");
    assert!(released.body.contains("takes a payer"), "{}", released.body);
    let forged = post(desk.address, &path, &payer.cookie, &format!("csrf={}", operator.csrf)).await;
    assert_eq!(forged.status, 403, "another's form");
    assert_eq!(post(desk.address, &path, &payer.cookie, "").await.status, 403, "no form of ours");
    assert_eq!(post(desk.address, &path, "", &format!("csrf={}", payer.csrf)).await.status, 401);
    for (verb, path, status) in [("GET", path.as_str(), 404), ("PUT", "/jobs", 405), ("POST", "/jobs/none/retry", 404)]
    {
        let reply = match verb {
            "GET" => payer.page(path).await,
            "POST" => payer.send(path, "").await,
            _ => send(desk.address, verb, path, &payer.cookie, "").await,
        };
        assert_eq!(reply.status, status, "{verb} {path}");
    }
    for odd in ["/jobs?state=failed", "/jobs?kinds=x", "/jobs?older=yesterday"] {
        assert_eq!(payer.page(odd).await.status, 400, "{odd}");
    }
    assert_eq!(desk.count("dead").await, 1, "nothing changed");

    assert_eq!(payer.send(&path, "why=the+price+is+mended").await.status, 303);
    assert_eq!(desk.count("ready").await, 1);
    let written: (String, String, Option<String>) =
        sqlx::query_as("SELECT who, via, why FROM bursar.audit WHERE what = 'jobs.retry' AND subject = $1")
            .bind(&id)
            .fetch_one(&desk.db.pool)
            .await
            .unwrap();
    assert_eq!(written, ("paul".into(), "console".into(), Some("the price is mended".into())));
    assert_eq!(payer.send(&path, "").await.status, 409, "it is ready by now");
}

#[tokio::test]
async fn all_that_match_are_shown_first_and_then_retried() {
    let desk = Desk::open().await;
    desk.dead("refill_tier", 230).await;
    let olga = desk.visitor("olga", Role::Operator).await;
    let page = olga.page("/jobs?state=dead&kind=refill_tier").await.body;
    assert!(page.contains("Retry all that match") && page.contains("&lt;b&gt;is&lt;/b&gt;"), "{page}");
    assert!(!page.contains("<b>is</b>"), "what a job says is text");

    let dry = olga.send("/bulk", "state=dead&kind=refill_tier&verb=retry&step=dry-run").await.body;
    assert!(dry.contains("<strong>230</strong> jobs match") && dry.contains("Retry all 230"), "{dry}");
    assert_eq!(desk.count("dead").await, 230, "it was only asked");
    let stale = olga.send("/bulk", "state=dead&kind=refill_tier&verb=retry&step=act&seal=7").await;
    assert!(stale.status == 200 && stale.body.contains("Retry all 230"), "what was confirmed is not what is there");
    assert_eq!(desk.count("dead").await, 230);

    let confirmed = confirmation(&stale.body);
    assert!(confirmed.starts_with("shown=2"), "{confirmed}");
    let act = format!("state=dead&kind=refill_tier&verb=retry&step=act&{confirmed}&why=mended");
    let begun = olga.send("/bulk", &act).await;
    assert_eq!(begun.status, 303);
    let progress = begun.header("location").unwrap().to_owned();
    eventually(shop::SOON, || async {
        let page = olga.page(&progress).await.body;
        if page.contains("Done.") { Ok(()) } else { Err(page) }
    })
    .await;
    assert_eq!((desk.count("dead").await, desk.count("ready").await), (0, 230));
}

#[tokio::test]
async fn what_comes_to_match_after_it_was_shown_is_not_acted_on() {
    let desk = Desk::open().await;
    let shown = desk.dead("refill_tier", 1).await;
    let olga = desk.visitor("olga", Role::Operator).await;
    let dry = olga.send("/bulk", "state=dead&kind=refill_tier&verb=retry&step=dry-run").await.body;
    let confirmed = confirmation(&dry);
    // Somebody else retries the one, and another dies: as many match.
    sqlx::query("DELETE FROM apalis.jobs WHERE id = $1").bind(&shown).execute(&desk.db.pool).await.unwrap();
    desk.dead("refill_tier", 1).await;
    let again = olga.send("/bulk", &format!("state=dead&kind=refill_tier&verb=retry&step=act&{confirmed}")).await;
    assert_eq!((again.status, desk.count("dead").await), (200, 1), "it is shown again: {}", again.body);
}

/// What the form of a dry run carries: when it was shown, and what.
fn confirmation(page: &str) -> String {
    let value = |name: &str| {
        let field = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_default();
        field.split('"').next().unwrap_or_default().to_owned()
    };
    format!("shown={}&seal={}", value("shown"), value("seal"))
}

#[tokio::test]
async fn done_jobs_of_events_run_again_from_the_console_too() {
    let desk = Desk::open().await;
    desk.dead("note_event", 2).await;
    let event = "INSERT INTO bursar.event (source, id, type, body) SELECT 'stripe', 'k' || n, 'x.y', convert_to(
                     jsonb_build_object('id', 'k' || n, 'type', 'x.y', 'created', 1, 'data', '{\"object\": {\"id\": \"o\"}}'::jsonb)::text, 'UTF8')
                 FROM generate_series(1, 2) n";
    sqlx::query(event).execute(&desk.db.pool).await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET status = 'Done', cause = idempotency_key")
        .execute(&desk.db.pool)
        .await
        .unwrap();
    let olga = desk.visitor("olga", Role::Operator).await;
    assert!(olga.page("/jobs?state=done").await.body.contains("Run all that match again"));
    let dry = olga.send("/bulk", "state=done&verb=replay&step=dry-run").await.body;
    assert!(dry.contains("Run again all 2") && desk.count("done").await == 2, "{dry}");
    let begun = olga.send("/bulk", &format!("state=done&verb=replay&step=act&{}", confirmation(&dry))).await;
    assert_eq!(begun.status, 303, "{}", begun.body);
    eventually(shop::SOON, || async {
        match desk.count("ready").await {
            2 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    assert!(!vera.page("/jobs?state=done").await.body.contains("Run all that match again"));
}

#[tokio::test]
async fn an_act_that_does_not_come_to_its_end_is_seen() {
    let desk = Desk::open().await;
    desk.plant(
        r#"INSERT INTO bursar.bulk (id, verb, filter, who, via, matching, changed, begun_at)
           VALUES ('0b', 'cancel', '{"state": "dead", "moon": "full"}', 'anna', 'cli', 30, 10, bursar.now() - interval '10 minutes'),
                  ('0c', 'cancel', '{"state": "dead"}', 'anna', 'cli', 30, 10, bursar.now())"#,
    )
    .await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    let page = vera.sees("/", &["href=\"/bulk/0b\"", "anna", "10 of 30"]).await;
    assert!(!page.contains("/bulk/0c"), "one that was just begun is on its way");
}

#[tokio::test]
async fn the_overview_and_a_job_say_how_it_stands() {
    let desk = Desk::open().await;
    let id = desk.dead("refill_tier", 2).await;
    sqlx::query("INSERT INTO bursar.attempt (job_id, attempt, ended_at, outcome, errors) VALUES ($1, 1, bursar.now(), 'dead', $2)")
        .bind(&id)
        .bind(json!(["it sells no tier", "the price is unknown"]))
        .execute(&desk.db.pool)
        .await
        .unwrap();
    let vera = desk.visitor("vera", Role::Viewer).await;
    let overview = vera.page("/").await;
    for words in ["2 jobs are dead", "None is alive", "refill_tier", "1 did not"] {
        assert!(overview.body.contains(words), "{words:?} is missing in {}", overview.body);
    }
    assert!(overview.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let page = vera.page(&format!("/jobs/{id}")).await.body;
    for words in ["is safe", "it sells no tier", "because", "the price is unknown"] {
        assert!(page.contains(words), "{words:?} is missing in {page}");
    }
    assert!(!page.contains("/retry\""), "a viewer is offered nothing");
    let style = get(desk.address, "/console.css", "").await;
    assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
}
