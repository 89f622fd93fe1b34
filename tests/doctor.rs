//! `bursar doctor`, by the built program against the sandbox, a real database, a real web and a mail server: nothing fails where all is
//! well, and what is put wrong is found, by its name and with what to do, while everything else stays as it was.

mod bench;
mod lost;
mod money;
mod shop;

use self::bench::{Bench, Report};

#[tokio::test]
async fn where_all_is_well_nothing_fails_and_every_check_has_a_name_a_result_and_a_sight() {
    let bench = Bench::new().await;
    let report = bench.examine(&[]).await;
    assert_eq!(report.code, Some(0), "{report:?}");
    // A sandbox, whose database is a superuser's, and which has no month behind it.
    let others = [("database.role", "warn"), ("reconcile.month", "skip"), ("stripe.mode", "warn")];
    assert_eq!(report.other_than_ok(), others);
    for check in &report.checks {
        let mut names: Vec<&str> = check.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["check", "remedy", "result", "seen"]);
        assert!(!check["seen"].as_str().unwrap().is_empty(), "{check}");
        let told = matches!(check["result"].as_str().unwrap(), "warn" | "fail");
        assert_eq!(check["remedy"].is_string(), told, "{check}");
    }
    assert_eq!(report.checks.len(), report.results().len(), "every name is there once");
    assert!(bench.sink.taken().is_empty(), "no letter is sent");
    assert_eq!(bench.stripe.get("/_sandbox/ledger").await.body["transfers"], serde_json::json!([]));
    let asked = bench.stripe.get("/_sandbox/requests").await;
    let ours = asked.body["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["user_agent"].as_str().is_some_and(|a| a.starts_with("bursar/")));
    assert!(ours.clone().count() >= 8 && ours.clone().all(|request| request["method"] == "GET"), "it only reads");
}

#[tokio::test]
async fn people_see_symbols_words_and_remedies_and_the_counts_on_stderr() {
    let bench = Bench::new().await;
    let (code, out, err) = bench.run(&["doctor", "--url", &bench.url], &[("STRIPE_PRICE_TEAM", "")]).await;
    assert_eq!(code, Some(1));
    assert!(out.contains("✓ ok    stripe.portal"), "{out}");
    assert!(out.contains("! warn  stripe.mode"), "{out}");
    let failed = out.lines().skip_while(|line| !line.starts_with("✗ fail  stripe.tier.team")).nth(1).unwrap();
    assert!(failed.trim_start().starts_with("→ Set STRIPE_PRICE_TEAM"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colour where nobody sees it");
    assert!(err.contains("1 fail"), "{err}");
}

/// Which variable is set wrong, and how; which check says so, as what, and a word of its remedy.
const SET_WRONG: &[[&str; 5]] = &[
    ["STRIPE_WEBHOOK_SECRET", "whsec_a b", "secret.webhook", "fail", "dashboard"],
    ["STRIPE_WEBHOOK_SECRET", "whsec_short", "secret.webhook", "fail", "dashboard"],
    ["STRIPE_WEBHOOK_SECRET", "whsec_cut_off_somewhere", "secret.webhook", "warn", "whole signing secret"],
    ["VERIFICATION_SECRET", "c2hvcnQ=", "secret.verification", "fail", "openssl rand"],
    ["API_TOKEN", "hunter2hunter2", "secret.api_token", "fail", "openssl rand"],
    ["API_TOKEN", "hunter2hunter2hunter2", "secret.api_token", "warn", "openssl rand"],
    ["NOTIFY_SECRET", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "notify", "fail", "openssl rand"],
    ["BURSAR_API__BIND", "0.0.0.0", "listen.api", "warn", "127.0.0.1"],
    ["STRIPE_PRICE_PRO", "price_of_nobody", "stripe.tier.pro", "fail", "same mode"],
    ["STRIPE_PRICE_TEAM", "", "stripe.tier.team", "fail", "STRIPE_PRICE_TEAM"],
    ["BURSAR_PAYOUT__CURRENCY", "xxx", "stripe.balance", "fail", "[payout] currency"],
    ["SMTP_URL", "smtp://127.0.0.1:1", "letters", "fail", "SMTP_URL"],
    ["BURSAR_NOTIFY__URL", "http://127.0.0.1:1/hook", "notify", "fail", "[notify] url"],
    ["BURSAR_DATABASE__LISTEN_URL", "postgres://n@127.0.0.1:6432/x", "database.pooler", "warn", "PostgreSQL itself"],
    ["BURSAR_DATABASE__MAX_CONNECTIONS", "100", "database.connections", "warn", "MAX_CONNECTIONS"],
    ["BURSAR_DATABASE__MAX_CONNECTIONS", "1000", "database.connections", "fail", "max_connections"],
];

#[tokio::test]
async fn what_is_set_wrong_is_found_and_nothing_else_changes() {
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    for [variable, value, name, verdict, remedy] in SET_WRONG {
        let set = [(*variable, *value)];
        let report = bench.examine(&set).await;
        report.differs_only_by(&well, &[(name, verdict)]);
        assert!(report.remedy(name).contains(remedy), "{set:?}: {}", report.remedy(name));
        assert_eq!(report.code, Some(i32::from(*verdict == "fail")), "{set:?}");
    }
}

#[tokio::test]
async fn several_webhook_secrets_are_fine_while_one_rolls() {
    let bench = Bench::new().await;
    let both = format!("{}, whsec_0123456789abcdef0123456789abcdef", bench.secret("STRIPE_WEBHOOK_SECRET"));
    let report = bench.examine(&[("STRIPE_WEBHOOK_SECRET", &both)]).await;
    assert_eq!(report.result("secret.webhook"), "ok");
    assert!(report.seen("secret.webhook").starts_with("2: whsec_…"), "{}", report.seen("secret.webhook"));
}

#[tokio::test]
async fn secret_files_that_others_may_read_or_write_are_said() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new().await;
    let well = bench.examine(&[]).await;
    let path = std::env::temp_dir().join(format!("bursar-token-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, bench.secret("API_TOKEN")).unwrap();
    for (mode, word) in [(0o600, None), (0o644, Some("may read (mode 644)")), (0o666, Some("may write (mode 666)"))] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let report = bench.examine(&[("API_TOKEN", ""), ("API_TOKEN_FILE", path.to_str().unwrap())]).await;
        let expected = word.map(|_| ("secret.files", "warn"));
        report.differs_only_by(&well, expected.as_slice());
        if let Some(word) = word {
            assert!(report.seen("secret.files").contains(word), "{report:?}");
            assert!(report.remedy("secret.files").contains("chmod 600"), "{report:?}");
        }
    }
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let bench = Bench::new().await;
    let dark = bench::black_hole().await;
    let smtp = format!("smtp://user:hunter2hunter2@127.0.0.1:{}", bench.sink.port);
    bench.sink.state.lock().unwrap().always =
        Some(("AUTH", crate::letters::sink::Wrong::Says("535 hunter2hunter2 is wrong")));
    let database = "postgres://nobody:s3cretpassword@127.0.0.1:1/nothing";
    for set in [
        &[][..],
        &[("SMTP_URL", smtp.as_str())],
        &[("DATABASE_URL", database)],
        &[("STRIPE_SECRET_KEY", "sk_test_of_another_account_0000000000")],
        &[("STRIPE_API_BASE", dark.as_str())],
        &[("STRIPE_SECRET_KEY", "not a key at all, but secret")],
        &[("STRIPE_WEBHOOK_SECRET", "sk_test_mixed_up_with_the_key_0000")],
    ] {
        for json in [true, false] {
            let args: &[&str] = if json { &["doctor", "--json"] } else { &["doctor"] };
            let (_, out, err) = bench.run(args, set).await;
            let words = format!("{out}{err}");
            let own = bench.secrets().into_iter().chain(set.iter().map(|(_, value)| (*value).to_owned()));
            let hidden = own.filter(|value| !value.starts_with("http") && !value.starts_with("smtp"));
            for secret in hidden.chain(["hunter2hunter2".to_owned(), "s3cretpassword".to_owned()]) {
                assert!(!words.contains(&secret), "{secret} in {words}");
            }
            assert!(!words.is_empty());
        }
    }
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_said_and_end_it() {
    let bench = Bench::new().await;
    let report = bench.examine(&[("BURSAR_WEB__TYPO", "1")]).await;
    assert_eq!((report.code, report.results().len(), report.result("settings")), (Some(1), 1, "fail"));
}

#[tokio::test]
async fn the_queue_and_the_database_are_looked_at() {
    let planted: &[(&str, &str, &str, &str)] = &[
        ("INSERT INTO bursar.paused_kind (kind) VALUES ('pay_receiver')", "queue.paused", "warn", "bursar jobs resume"),
        (
            "INSERT INTO apalis.jobs (id, job, job_type, status, attempts, max_attempts) VALUES ('dead-1', '{}', 'pay_receiver', 'Failed', 1, 1)",
            "queue.dead",
            "warn",
            "bursar jobs list --state dead",
        ),
        (
            "INSERT INTO apalis.jobs (id, job, job_type, status, attempts, max_attempts, run_at)
             VALUES ('late-1', '{}', 'pay_receiver', 'Pending', 0, 1, now() - interval '5 minutes')",
            "queue.oldest",
            "warn",
            "more workers",
        ),
        ("UPDATE apalis.workers SET kinds = ARRAY['note_event']", "queue.workers", "warn", "of this version"),
        ("DELETE FROM apalis.workers", "queue.workers", "warn", "Start `bursar worker`"),
        ("UPDATE bursar.schedule SET next_at = now() - interval '1 hour'", "schedules", "fail", "bursar schedule run"),
        ("DELETE FROM bursar.schedule", "schedules", "warn", "bursar worker"),
        ("UPDATE bursar.setting SET value = 'live' WHERE name = 'stripe'", "database.mode", "fail", "another database"),
        (
            "DELETE FROM bursar._migrations WHERE version = (SELECT max(version) FROM bursar._migrations)",
            "database.migrations",
            "fail",
            "bursar migrate",
        ),
    ];
    let well = Bench::new().await.examine(&[]).await;
    for (statement, name, verdict, remedy) in planted {
        let bench = Bench::new().await;
        bench.plant(statement).await;
        let report = bench.examine(&[]).await;
        if *name != "database.migrations" {
            report.differs_only_by(&well, &[(name, verdict)]);
        }
        assert_eq!(report.result(name), *verdict, "{statement}: {report:?}");
        assert!(report.remedy(name).contains(remedy), "{statement}: {}", report.remedy(name));
    }
}

#[tokio::test]
async fn a_database_that_forgets_on_a_crash_fails_where_money_is_real_and_warns_in_a_sandbox() {
    let bench = Bench::new().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&bench.db.pool).await.unwrap();
    for setting in ["synchronous_commit = off", "default_transaction_isolation = 'serializable'"] {
        let change = format!("ALTER DATABASE {name} SET {setting}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&bench.db.pool).await.unwrap();
    }
    let report = bench.examine(&[]).await;
    assert_eq!((report.result("database.durability"), report.result("database.isolation")), ("warn", "warn"));
    bench.plant("UPDATE bursar.setting SET value = 'test' WHERE name = 'stripe'").await;
    let report = bench.examine(&[]).await;
    assert_eq!(report.result("database.durability"), "fail");
    assert!(report.remedy("database.durability").contains("2xx"), "{report:?}");
}

#[tokio::test]
async fn a_role_needs_its_tables_and_no_more() {
    let bench = Bench::new().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&bench.db.pool).await.unwrap();
    let role = format!("plain_{name}");
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA bursar, apalis TO {role};
         GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA bursar, apalis TO {role}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(grants)).execute(&bench.db.pool).await.unwrap();
    let url = bench.db.url.replacen("postgres@", &format!("{role}@"), 1);
    assert_ne!(url, bench.db.url);
    // It can store an event so, and never claim a job.
    let report = bench.examine(&[("DATABASE_URL", &url)]).await;
    assert_eq!((report.code, report.result("database.role")), (Some(1), "fail"), "{report:?}");
    assert!(report.seen("database.role").starts_with("lacks UPDATE on apalis.jobs, "), "{report:?}");
    assert!(report.seen("database.role").contains("; DELETE on apalis.jobs, apalis.workers, bursar.attempt"));
    let plain = async |change: &str| {
        let change = change.replace("ROLE", &role);
        sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&bench.db.pool).await.unwrap();
        bench.examine(&[("DATABASE_URL", &url)]).await
    };
    let all = "GRANT UPDATE, DELETE ON ALL TABLES IN SCHEMA bursar, apalis TO ROLE; REVOKE UPDATE, DELETE ON bursar.posting, bursar.audit FROM ROLE";
    let report = plain(all).await;
    assert_eq!((report.code, report.result("database.role")), (Some(0), "ok"), "{report:?}");
    let report = plain("REVOKE INSERT ON bursar.posting FROM ROLE").await;
    assert_eq!((report.code, report.seen("database.role")), (Some(1), "lacks INSERT on bursar.posting"));
    let report = plain(
        "GRANT INSERT ON bursar.posting TO ROLE; REVOKE EXECUTE ON FUNCTION bursar.spend FROM PUBLIC; REVOKE EXECUTE ON FUNCTION bursar.spend FROM ROLE",
    )
    .await;
    assert_eq!(report.seen("database.role"), "lacks EXECUTE on bursar.spend");
}

#[tokio::test]
async fn who_else_may_create_where_names_are_looked_up_is_said() {
    let bench = Bench::new().await;
    let after = async |change: &'static str| {
        sqlx::raw_sql(change).execute(&bench.db.pool).await.unwrap();
        bench.examine(&[]).await
    };
    let report = after("GRANT CREATE ON SCHEMA public TO PUBLIC").await;
    assert_eq!((report.code, report.result("database.search_path")), (Some(0), "warn"), "{report:?}");
    assert!(report.seen("database.search_path").ends_with("everybody in public"), "{report:?}");
    let report = after("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    assert_eq!(report.result("database.search_path"), "ok", "{report:?}");
    let report = after("ALTER FUNCTION bursar.wake() RESET search_path").await;
    assert_eq!((report.code, report.result("database.search_path")), (Some(1), "fail"), "{report:?}");
    assert!(report.seen("database.search_path").starts_with("bursar.wake() sets no search_path"), "{report:?}");
}

impl Report {
    /// Every check is as it was, but for these.
    #[track_caller]
    fn differs_only_by(&self, well: &Self, changed: &[(&str, &str)]) {
        let mut wanted = well.results();
        for (name, verdict) in changed {
            wanted.insert((*name).to_owned(), (*verdict).to_owned());
        }
        let seen = self.results();
        let differ: Vec<_> = wanted.iter().filter(|(name, verdict)| seen.get(*name) != Some(verdict)).collect();
        let more: Vec<_> = seen.iter().filter(|(name, _)| !wanted.contains_key(*name)).collect();
        let told: Vec<_> = self.checks.iter().filter(|check| check["result"] != "ok").collect();
        assert!(differ.is_empty() && more.is_empty(), "wanted {differ:?}, and not {more:?}: {told:?}");
    }
}
