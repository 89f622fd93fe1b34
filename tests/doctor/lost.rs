//! With parts missing: what needs them says so, everything else is looked at, and it ends in time.

use std::time::{Duration, Instant};

use super::bench::{Bench, black_hole};

/// As its user is promised.
const MOST: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_stripe_that_never_answers_takes_nothing_else_along_and_not_much_time() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    let dark = black_hole().await;
    let begun = Instant::now();
    let report = bench.examine(&[("STRIPE_API_BASE", &dark)]).await;
    assert!(begun.elapsed() < MOST, "{:?}", begun.elapsed());
    assert_eq!((report.code, report.result("stripe")), (Some(1), "fail"));
    assert!(report.remedy("stripe").contains("STRIPE_API_BASE"));
    for (name, result) in report.results() {
        match name.as_str() {
            "stripe" | "stripe.key" => {}
            name if name.starts_with("stripe.") => assert_eq!(result, "skip", "{name}"),
            name => assert_eq!(result, well.result(name), "{name}"),
        }
    }
}

#[tokio::test]
async fn everything_that_never_answers_at_once_still_ends_in_time() {
    let bench = Bench::new().await;
    let dark = black_hole().await;
    let port = dark.rsplit(':').next().unwrap();
    let (database, smtp) = (format!("postgres://nobody@127.0.0.1:{port}/x"), format!("smtp://127.0.0.1:{port}"));
    let begun = Instant::now();
    let report = bench
        .examine(&[
            ("STRIPE_API_BASE", &dark),
            ("DATABASE_URL", &database),
            ("SMTP_URL", &smtp),
            ("BURSAR_NOTIFY__URL", &dark),
            ("BURSAR_WEB__PUBLIC_URL", &dark),
        ])
        .await;
    assert!(begun.elapsed() < MOST, "{:?}", begun.elapsed());
    assert_eq!(report.code, Some(1));
    for name in ["stripe", "database", "letters", "notify", "web.url"] {
        assert_eq!(report.result(name), "fail", "{name}");
        assert!(!report.remedy(name).is_empty());
    }
    for name in ["stripe.key", "secret.webhook", "secret.verification", "secret.api_token", "listen.web"] {
        assert_eq!(report.result(name), "ok", "{name}");
    }
}

#[tokio::test]
async fn with_nothing_set_it_says_what_is_missing() {
    let out = crate::support::bursar(&["doctor", "--json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let out = String::from_utf8(out.stdout).unwrap();
    for said in ["DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "VERIFICATION_SECRET", "API_TOKEN"] {
        assert!(out.contains(said), "{said}: {out}");
    }
}

#[tokio::test]
async fn a_refused_key_a_maildir_and_stripe_off_are_said() {
    let bench = Bench::new().await;
    let report = bench.examine(&[("STRIPE_SECRET_KEY", "sk_test_")]).await;
    assert_eq!((report.result("stripe.key"), report.result("stripe.prices")), ("fail", "skip"));

    let folder = crate::support::scratch();
    let mail = folder.join("mail").display().to_string();
    let report = bench.examine(&[("SMTP_URL", ""), ("BURSAR_LETTERS__MAILDIR", &mail)]).await;
    assert_eq!((report.code, report.result("letters")), (Some(0), "warn"));
    assert!(!std::path::Path::new(&mail).exists(), "nothing is made");
    std::fs::write(&mail, "a file").unwrap();
    let report = bench.examine(&[("SMTP_URL", ""), ("BURSAR_LETTERS__MAILDIR", &mail)]).await;
    assert_eq!((report.code, report.result("letters")), (Some(1), "fail"));

    let report = bench.examine(&[("BURSAR_STRIPE__PROVIDER", "off")]).await;
    assert_eq!((report.result("stripe.key"), report.result("stripe")), ("warn", "skip"));
    let report = bench.examine(&[("STRIPE_SECRET_KEY", "")]).await;
    assert_eq!((report.result("stripe.key"), report.result("database.mode")), ("warn", "warn"));
}
