//! Stopping in good order: nothing new is taken, and nothing that was taken is lost.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{
    CHECKOUT, Server, WEBHOOK,
    client::{Client, head, stripe_signature},
    events, jobs_of,
};
use crate::support::{self, eventually};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_has_begun_to_arrive_is_finished_and_the_rest_is_closed() {
    let database = support::database().await;
    let server = Server::start(&database.pool).await;
    let request =
        head("POST", WEBHOOK, &[stripe_signature("whsec_new_of_the_endpoint", CHECKOUT)], CHECKOUT.len()) + CHECKOUT;
    let second = CHECKOUT.replace("evt_1", "evt_2");
    let next = head("POST", WEBHOOK, &[stripe_signature("whsec_new_of_the_endpoint", &second)], second.len()) + &second;

    // One half a body in, one half a head into its second request, one idle, one that has said nothing yet.
    let mut half_body = Client::connect(server.address).await;
    half_body.send(&request[..request.len() - 50]).await;
    let mut half_head = Client::connect(server.address).await;
    assert_eq!(half_head.request("GET", "/healthz").await.status, 200);
    half_head.send(&next[..30]).await;
    let mut idle = Client::connect(server.address).await;
    let mut silent = Client::connect(server.address).await;
    // An answer here means that the server has read what came before it.
    for _ in 0..2 {
        assert_eq!(idle.request("GET", "/healthz").await.status, 200);
    }

    server.stopper.stop();
    assert!(idle.is_closed().await);
    assert!(silent.is_closed().await);
    eventually(SOON, || async {
        match TcpStream::connect(server.address).await {
            Err(_) => Ok(()),
            Ok(_) => Err("it still listens"),
        }
    })
    .await;
    assert_eq!(events(&database.pool).await, 0);

    half_body.send(&request[request.len() - 50..]).await;
    half_head.send(&next[30..]).await;
    for client in [&mut half_body, &mut half_head] {
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        assert!(client.is_closed().await);
    }
    server.ended().await;
    assert_eq!(jobs_of(&database.pool, "evt_1").await.len() + jobs_of(&database.pool, "evt_2").await.len(), 2);
}

#[tokio::test]
async fn a_connection_that_waited_for_room_is_answered_after_stop() {
    let database = support::database().await;
    let server = Server::start_with(&database.pool, |settings| settings.limits.connections = 1).await;
    let mut first = Client::connect(server.address).await;
    assert_eq!(first.request("GET", "/healthz").await.status, 200);
    // The kernel accepts it; the server has no room for it.
    let mut second = Client::connect(server.address).await;
    second
        .send(&head("POST", WEBHOOK, &[stripe_signature("whsec_new_of_the_endpoint", CHECKOUT)], CHECKOUT.len()))
        .await;
    second.send(CHECKOUT).await;
    assert_eq!(first.request("GET", "/healthz").await.status, 200);
    assert_eq!(events(&database.pool).await, 0);

    server.stopper.stop();
    assert_eq!(second.reply().await.status, 200);
    assert!(first.is_closed().await);
    server.ended().await;
    assert_eq!(events(&database.pool).await, 1);
}

#[tokio::test]
async fn a_sender_that_never_finishes_does_not_hold_up_the_stop() {
    let database = support::database().await;
    let server = Server::start_with(&database.pool, |settings| {
        let limits = &mut settings.limits;
        (limits.head, limits.body) = (Duration::from_secs(1), Duration::from_secs(1));
        (limits.store, limits.drain) = (Duration::from_secs(1), Duration::from_secs(4));
    })
    .await;
    let mut client = Client::connect(server.address).await;
    client.send(&head("POST", WEBHOOK, &[stripe_signature("whsec_new_of_the_endpoint", "")], 100)).await;
    server.stopper.stop();
    assert_eq!(client.reply().await.status, 408);
    server.ended().await;
}
