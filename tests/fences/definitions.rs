//! The functions whose conditions `.ci/fences` removes one at a time.

use crate::support::database::{database, keep};

/// What stands between two attempts, two events, two spends.
const FENCED: [&str; 7] = ["claim", "post", "receive", "renew", "settle", "spend", "sweep"];

#[tokio::test]
async fn each_fenced_function_is_there_once_and_in_a_language_that_can_be_mutated() {
    let db = database().await;
    let found: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT p.proname::text, l.lanname::text, pg_get_functiondef(p.oid)
         FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
         WHERE p.pronamespace = 'bursar'::regnamespace AND p.proname = ANY ($1) ORDER BY p.proname",
    )
    .bind(FENCED)
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, FENCED);
    for (name, language, _) in &found {
        assert!(["sql", "plpgsql"].contains(&language.as_str()), "{name} is in {language}");
    }
    // For `.ci/fences`, which has no database of its own: it is told, and lent our server until it closes our standard input.
    if let Ok(file) = std::env::var("BURSAR_TEST_DEFINITIONS") {
        let functions: std::collections::BTreeMap<_, _> =
            found.into_iter().map(|(name, _, definition)| (name, definition)).collect();
        let told = serde_json::json!({ "server": keep().await, "functions": functions });
        let half = format!("{file}.half");
        std::fs::write(&half, told.to_string()).unwrap();
        std::fs::rename(half, file).unwrap();
        tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await.unwrap().unwrap();
    }
}
