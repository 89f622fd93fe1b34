//! Guessing, and other sites' forms: what stands before the door.

use bursar_jobs::desk::access::Role;
use tokio::task::JoinSet;

use super::{Desk, post};
use crate::web::client::{Client, head};

#[tokio::test]
async fn who_guesses_many_at_once_has_no_more_attempts_than_who_guesses_one_by_one() {
    let desk = Desk::open().await;
    let mut guesses = JoinSet::new();
    for n in 0..40 {
        let address = desk.address;
        guesses.spawn(async move { post(address, "/sign-in", "", &format!("token=bursar_{n}")).await.status });
    }
    let all = guesses.join_all().await;
    let tried = all.iter().filter(|status| **status == 401).count();
    assert!(tried <= 5 && all.iter().all(|status| matches!(status, 401 | 429)), "{tried} of {all:?}");
}

#[tokio::test]
async fn who_signs_in_well_is_never_counted() {
    let desk = Desk::open().await;
    for n in 0..12 {
        desk.visitor(&format!("anna{n}"), Role::Viewer).await;
    }
}

#[tokio::test]
async fn another_sites_form_is_refused_at_the_door_and_uses_up_nobodys_attempts() {
    let desk = Desk::open().await;
    let token = desk.token("anna", Role::Viewer).await;
    let send = async |headers: &[(&'static str, &str)], token: &str| {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let body = format!("token={token}");
        let mut client = Client::connect(desk.address).await;
        client.send(&head("POST", "/sign-in", &all, body.len())).await;
        client.send(&body).await;
        client.reply().await
    };
    for _ in 0..3 {
        for headers in [&[("sec-fetch-site", "cross-site")][..], &[("sec-fetch-site", "same-site")]] {
            assert_eq!(send(headers, "bursar_guess").await.status, 403, "{headers:?}");
        }
    }
    for headers in [&[("sec-fetch-site", "same-origin")][..], &[("sec-fetch-site", "none")], &[]] {
        assert_eq!(send(headers, &token).await.status, 303, "{headers:?}");
    }
}

#[tokio::test]
async fn a_page_that_keeps_itself_current_is_nobody_at_the_screen() {
    let desk = Desk::open().await;
    let anna = desk.visitor("anna", Role::Viewer).await;
    let seen = async || -> bool {
        sqlx::query_scalar("SELECT seen_at > clock_timestamp() - interval '1 hour' FROM bursar.session")
            .fetch_one(&desk.db.pool)
            .await
            .unwrap()
    };
    desk.plant("UPDATE bursar.session SET seen_at = clock_timestamp() - interval '119 minutes'").await;
    let headers = [("cookie", anna.cookie.clone()), ("bursar-live", "1".to_owned())];
    let mut client = Client::connect(desk.address).await;
    client.send(&head("GET", "/", &headers, 0)).await;
    assert_eq!((client.reply().await.status, seen().await), (200, false), "it is current, and the session idles");
    assert_eq!((anna.page("/").await.status, seen().await), (200, true));
}
