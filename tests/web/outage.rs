//! What cannot be stored is not acknowledged, and the sender's retry finds a server that can.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{CHECKOUT, Server, client::Client, deliver, events, jobs_of};
use crate::{
    dev_postgres,
    support::{self, eventually},
};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn while_the_database_is_down_events_wait_at_their_sender() {
    let folder = support::scratch();
    let postgres = dev_postgres::start(&folder, false).await.unwrap();
    let pool = PgPool::connect(&postgres.url("postgres")).await.unwrap();
    let server = Server::start(&pool).await;
    let mut probe = Client::connect(server.address).await;

    let unready = probe.request("GET", "/readyz").await;
    assert_eq!(unready.status, 503);
    assert!(unready.detail().contains("bursar migrate"), "{}", unready.body);
    // Without its tables it cannot store either.
    assert_eq!(deliver(&server, CHECKOUT).await.status, 503);

    bursar::migrate::migrate(&pool).await.unwrap();
    becomes(&mut probe, 200).await;

    postgres.stop().await.unwrap();
    for _ in 0..20 {
        let refused = deliver(&server, CHECKOUT).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        assert!(refused.detail().contains("Send it again"), "{}", refused.body);
    }
    becomes(&mut probe, 503).await;
    assert_eq!(probe.request("GET", "/healthz").await.status, 200);

    let postgres = dev_postgres::start(&folder, false).await.unwrap();
    let stored = deliver(&server, CHECKOUT).await;
    assert_eq!((stored.status, stored.body.as_str()), (200, r#"{"received":true}"#));
    becomes(&mut probe, 200).await;
    assert_eq!((events(&pool).await, jobs_of(&pool, "evt_1").await.len()), (1, 1));
    pool.close().await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_ready() {
    let database = support::database().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&database.pool).await.unwrap();
    for (setting, status) in [("on", 503), ("off", 200)] {
        let alter = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {setting}");
        // The first one leaves its own session as it was, and the second has to write in a session that may not.
        let mut db = database.pool.begin().await.unwrap();
        sqlx::raw_sql("SET TRANSACTION READ WRITE").execute(&mut *db).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(&mut *db).await.unwrap();
        db.commit().await.unwrap();
        let pool = PgPool::connect(&database.url).await.unwrap();
        let server = Server::start(&pool).await;
        let mut probe = Client::connect(server.address).await;
        let ready = probe.request("GET", "/readyz").await;
        assert_eq!(ready.status, status, "{ready:?}");
        assert_eq!(deliver(&server, CHECKOUT).await.status, status);
        if status == 503 {
            assert!(ready.detail().contains("takes no writes"), "{ready:?}");
        }
        assert_eq!(probe.request("GET", "/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn a_database_that_hangs_or_has_no_connection_left_is_a_503_in_time() {
    let database = support::database().await;
    let pool = PgPoolOptions::new().max_connections(2).connect(&database.url).await.unwrap();
    let server = Server::start_with(&pool, |settings| settings.limits.store = Duration::from_millis(500)).await;

    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE bursar.event").execute(&mut *lock).await.unwrap();
    assert_eq!(deliver(&server, CHECKOUT).await.status, 503);
    lock.rollback().await.unwrap();
    is_taken(&server, CHECKOUT).await;

    let other = CHECKOUT.replace("evt_1", "evt_2");
    let held = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    assert_eq!(deliver(&server, &other).await.status, 503);
    drop(held);
    is_taken(&server, &other).await;
    assert_eq!((jobs_of(&pool, "evt_1").await.len(), jobs_of(&pool, "evt_2").await.len()), (1, 1));
}

/// The sender's retries, until one is answered well.
async fn is_taken(server: &Server, body: &str) {
    eventually(SOON, || async {
        let reply = deliver(server, body).await;
        if reply.status == 200 { Ok(()) } else { Err(reply) }
    })
    .await;
}

async fn becomes(probe: &mut Client, status: u16) {
    for _ in 0..2000 {
        if probe.request("GET", "/readyz").await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {status} within 20 s");
}
