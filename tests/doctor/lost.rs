//! With parts missing: what needs them says so, everything else is looked at, and it ends in time.

use std::time::{Duration, Instant};

use super::bench::{Bench, black_hole, parrot};

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

/// Status, head, body; whether Stripe is said to answer; what else is said.
type Answer = (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

/// What stands at Stripe's address answers everything so: whether Stripe is said to answer, and what else is said of it.
const ANSWERS: &[Answer] = &[
    ("401 Unauthorized", "", r#"{"error":{"type":"invalid_request_error","message":"Invalid API Key"}}"#, "fail", &[]),
    (
        "403 Forbidden",
        "",
        r#"{"error":{"type":"invalid_request_error","message":"not with this key"}}"#,
        "ok",
        &[
            ("stripe.permissions", "fail"),
            ("stripe.version", "skip"),
            ("stripe.balance", "warn"),
            ("stripe.webhook", "warn"),
        ],
    ),
    (
        "429 Too Many Requests",
        "Retry-After: 3600\r\n",
        r#"{"error":{"type":"invalid_request_error","code":"rate_limit"}}"#,
        "ok",
        &[
            ("stripe.permissions", "warn"),
            ("stripe.portal", "warn"),
            ("stripe.tier.pro", "warn"),
            ("stripe.webhook", "warn"),
        ],
    ),
    ("500 Internal Server Error", "", "oops", "fail", &[]),
    (
        "404 Not Found",
        "",
        r#"{"error":{"type":"invalid_request_error","message":"Unrecognized request URL"}}"#,
        "fail",
        &[],
    ),
    ("404 Not Found", "", "<html>", "fail", &[]),
    ("302 Found", "Location: https://example.com/\r\n", "", "fail", &[]),
    ("200 OK", "", "<html>", "fail", &[]),
    ("200 OK", "", r#"{"object":"list","data":[],"has_more":false}"#, "fail", &[]),
    ("200 OK", "", r#"{"object":"balance","available":"much"}"#, "fail", &[]),
];

#[tokio::test]
async fn whatever_answers_in_stripes_place_is_said_and_nothing_of_it_is_taken_for_well() {
    let bench = Bench::new().await;
    for (status, head, body, stripe, others) in ANSWERS {
        let base = parrot(status, head, body).await;
        let set = [("STRIPE_API_BASE", base.as_str()), ("STRIPE_SECRET_KEY", "rk_test_4eC39HqLyjWDarjtT1zdp7dc")];
        let begun = Instant::now();
        let report = bench.examine(&set).await;
        assert!(begun.elapsed() < MOST, "{status}: {:?}", begun.elapsed());
        assert_eq!(report.result("stripe"), *stripe, "{status} {body}: {report:?}");
        for (name, verdict) in *others {
            assert_eq!(report.result(name), *verdict, "{status} {name}: {report:?}");
        }
        // What needs no answer of Stripe's, and what is sold by its amount.
        let without = |name: &str| name == "stripe" || name == "stripe.key" || name.starts_with("stripe.package.");
        let well = report.results().into_iter().filter(|(name, _)| name.starts_with("stripe") && !without(name));
        let well: Vec<_> = well.filter(|(name, result)| result == "ok" && name != "stripe.clock").collect();
        assert!(well.is_empty(), "{status} {body}: {well:?}");
    }
}
