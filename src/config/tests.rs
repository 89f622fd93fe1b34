//! Settings as operators write them, and as they get them wrong.

use super::*;

const BASE: &[(&str, &str)] = &[
    ("DATABASE_URL", "postgres://bursar:hunter2@localhost/bursar"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_one_endpoint, whsec_two_endpoint"),
    ("VERIFICATION_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
];

fn read(variables: &[(&str, &str)], file: Option<&str>) -> Result<Settings, SettingsError> {
    let mut all: BTreeMap<_, _> = BASE.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    all.extend(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let file = file.map(|text| File { name: "bursar.toml".to_owned(), text: text.to_owned() });
    Settings::from_parts(&[], all, file.as_ref())
}

/// Everything is asked for, as the processes together would.
fn judge(settings: &Settings) -> Result<(Terms, web::Settings), SettingsError> {
    settings.listen_url()?;
    settings.database_max_connections()?;
    settings.log()?;
    Ok((settings.terms()?, settings.web()?))
}

fn refusal(variables: &[(&str, &str)], file: Option<&str>) -> String {
    read(variables, file).and_then(|settings| judge(&settings)).expect_err("refused").to_string()
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = read(&[], None).unwrap();
    let (terms, web) = judge(&settings).unwrap();
    let credits = |n| bursar_jobs::base::credits::Credits::whole(n).unwrap();
    let tiers: Vec<_> = terms.tiers.iter().map(|t| (t.name.as_str(), t.credits, t.prices.len())).collect();
    assert_eq!(tiers, [("pro", credits(150), 0), ("starter", credits(50), 0), ("team", credits(500), 0)]);
    for (amount, size) in [(999, 50), (2999, 200), (5999, 500), (19999, 2000)] {
        let package = terms.packages.iter().find(|package| package.amount == amount && package.currency == "usd");
        assert_eq!(package.unwrap().credits, credits(size));
    }
    assert_eq!(terms.packages.len(), 4);
    let titles: Vec<_> = terms.selling.titles.iter().map(|(name, title)| format!("{name} {title}")).collect();
    assert_eq!(titles, ["bulk Enterprise", "large Professional", "medium Standard", "small Starter"]);
    assert_eq!(terms.skills["research"], credits(2));
    assert_eq!((terms.payout.minor_units_per_credit, terms.payout.currency.as_str()), (50, "usd"));
    assert_eq!(terms.initial_credits, credits(0));
    assert!(!terms.stripe_on && !terms.livemode);
    assert_eq!(web.address.to_string(), "127.0.0.1:3000");
    assert_eq!(web.webhook_paths, ["/api/stripe/webhook"]);
    assert_eq!(settings.stripe().unwrap().api_base, "https://api.stripe.com");
    assert_eq!(settings.listen_url().unwrap(), settings.database_url().unwrap());
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let file = "[web]\nport = 1\nbind = \"::1\"\n[stripe]\nlivemode = true\n[log]\nfilter = \"debug\"";
    let port = |variables: &[(&str, &str)]| read(variables, Some(file)).unwrap().web().unwrap().address.to_string();
    assert_eq!(port(&[]), "[::1]:1");
    assert_eq!(port(&[("BURSAR_WEB__PORT", "2")]), "[::1]:2");
    assert_eq!(port(&[("BURSAR_WEB__PORT", "2"), ("PORT", "3")]), "[::1]:3");
    assert_eq!(port(&[("PORT", ""), ("BURSAR_PORT", "tcp://10.0.0.1:80")]), "[::1]:1");

    let filter = |variables: &[(&str, &str)]| read(variables, Some(file)).unwrap().log().unwrap().filter;
    assert_eq!(filter(&[]), "debug");
    assert_eq!(filter(&[("RUST_LOG", "warn")]), "warn");
    assert_eq!(filter(&[("RUST_LOG", "warn"), ("BURSAR_LOG__FILTER", "error")]), "error");

    // A development run's own values lie under everything that someone wrote.
    let own = [("PORT", "9"), ("STRIPE_PRICE_PRO", "price_pro"), ("STRIPE_PRICE_TEAM", "price_team")];
    let variables = [("STRIPE_PRICE_TEAM".to_owned(), "price_mine".to_owned())];
    let settings = Settings::from_parts(&own, variables, None).unwrap();
    let terms = settings.terms().unwrap();
    assert_eq!(terms.tier_of_price("price_pro").unwrap().name, "pro");
    assert_eq!(terms.tier_of_price("price_mine").unwrap().name, "team");
    assert!(terms.tier_of_price("price_team").is_none());
    assert!(!settings.database_is_set());
}

#[test]
fn a_set_in_the_file_replaces_the_whole_default_set() {
    let file = "[packages.mini]\ncredits = 5\namount = 1.50\ncurrency = \"EUR\"\nprice = \"price_mini\"\n\
                [tiers.pro]\ncredits = 2.5\nprices = [\"price_a\", \"price_b\"]\n[skills]\nResearch = 1";
    let terms = read(&[("BURSAR_PACKAGES__MINI__CREDITS", "6")], Some(file)).unwrap().terms().unwrap();
    assert_eq!(terms.tiers.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["pro"]);
    assert_eq!(terms.tier_of_price("price_b").unwrap().credits.to_string(), "2.5");
    let mini = terms.packages.iter().find(|package| package.price.as_deref() == Some("price_mini")).unwrap();
    assert_eq!((mini.amount, mini.currency.as_str(), mini.credits.to_string().as_str()), (150, "eur", "6"));
    assert_eq!(terms.packages.len(), 1);
    assert_eq!(terms.skills.keys().collect::<Vec<_>>(), ["Research"]);
    // A variable for a tier that the file no longer has.
    let refused = refusal(&[("STRIPE_PRICE_TEAM", "price_t")], Some(file));
    assert!(refused.contains("tiers.team.credits"), "{refused}");
}

#[test]
fn the_mode_is_that_of_the_key() {
    let stripe = |variables: &[(&str, &str)]| {
        let stripe = read(variables, None).unwrap().stripe().unwrap();
        (stripe.is_on(), stripe.livemode)
    };
    assert_eq!(stripe(&[]), (false, false));
    assert_eq!(stripe(&[("BURSAR_STRIPE__LIVEMODE", "true")]), (false, true));
    assert_eq!(stripe(&[("STRIPE_SECRET_KEY", "sk_test_1"), ("BURSAR_STRIPE__LIVEMODE", "true")]), (true, false));
    assert_eq!(stripe(&[("STRIPE_SECRET_KEY", "rk_live_1")]), (true, true));
    assert_eq!(stripe(&[("STRIPE_SECRET_KEY", "rk_live_1"), ("BURSAR_STRIPE__PROVIDER", "off")]), (false, true));
}

#[test]
fn a_process_asks_only_for_what_it_needs() {
    let off = [("STRIPE_WEBHOOK_SECRET", ""), ("BURSAR_STRIPE__PROVIDER", "off")];
    assert!(read(&off, None).unwrap().web().unwrap().stripe.is_none());
    let alone = [("VERIFICATION_SECRET", ""), ("BURSAR_WEB__VERIFICATIONS", "false")];
    assert!(read(&alone, None).unwrap().web().unwrap().verifications.is_none());
    assert!(read(&[("STRIPE_WEBHOOK_SECRET", "")], None).unwrap().terms().is_ok());
}

#[test]
fn what_is_missing_or_malformed_is_refused_by_name() {
    for (variables, file, words) in [
        (&[("DATABASE_URL", "")][..], None, &["DATABASE_URL", "not set", "bursar dev"][..]),
        (&[("DATABASE_URL", "mysql://x:hunter2@y/z")], None, &["DATABASE_URL", "not a PostgreSQL URL"]),
        (
            &[("BURSAR_DATABASE__LISTEN_URL", "postgres://[")],
            None,
            &["BURSAR_DATABASE__LISTEN_URL", "not a PostgreSQL URL"],
        ),
        (&[("BURSAR_DATABASE__MAX_CONNECTIONS", "0")], None, &["BURSAR_DATABASE__MAX_CONNECTIONS"]),
        (&[("STRIPE_WEBHOOK_SECRET", " ")], None, &["STRIPE_WEBHOOK_SECRET", "empty"]),
        (&[("STRIPE_WEBHOOK_SECRET", "")], None, &["STRIPE_WEBHOOK_SECRET", "not set", "provider = \"off\""]),
        (&[("STRIPE_WEBHOOK_SECRET", "whsec_a,,whsec_b")], None, &["STRIPE_WEBHOOK_SECRET", "empty"]),
        (&[("STRIPE_WEBHOOK_SECRET", "whsec_hun ter2")], None, &["STRIPE_WEBHOOK_SECRET", "stripe listen"]),
        (&[("VERIFICATION_SECRET", "")], None, &["VERIFICATION_SECRET", "not set", "openssl rand"]),
        (&[("VERIFICATION_SECRET", "hunter2!")], None, &["VERIFICATION_SECRET", "base64"]),
        (
            &[("VERIFICATION_SECRET", "eA==")],
            None,
            &["VERIFICATION_SECRET", "has 1 bytes", "16 are the least", "openssl rand"],
        ),
        (
            &[("STRIPE_WEBHOOK_SECRET", "whsec_hunter2")],
            None,
            &["STRIPE_WEBHOOK_SECRET", "16 are the least", "dashboard"],
        ),
        (&[("BURSAR_WEB__TRUSTED_PROXIES", "10.0.0.0/8,proxy")], None, &["BURSAR_WEB__TRUSTED_PROXIES", "\"proxy\""]),
        (&[("BURSAR_WEB__MAX_CONNECTIONS_PER_ADDRESS", "0")], None, &["BURSAR_WEB__MAX_CONNECTIONS_PER_ADDRESS"]),
        (&[("STRIPE_SECRET_KEY", "pk_live_hunter2")], None, &["STRIPE_SECRET_KEY", "not a Stripe secret key"]),
        (&[("STRIPE_SECRET_KEY", "sk_live_hunt er2")], None, &["STRIPE_SECRET_KEY", "white space"]),
        (&[("STRIPE_API_BASE", "api.stripe.com")], None, &["STRIPE_API_BASE", "http(s)"]),
        (&[("BURSAR_STRIPE__PROVIDER", "paypal")], None, &["BURSAR_STRIPE__PROVIDER", "dummy"]),
        (&[("PORT", "3000.5")], None, &["PORT", "`web.port`", "3000.5"]),
        (&[("PORT", "on")], None, &["PORT", "0 to 65535"]),
        (&[("BURSAR_WEB__BIND", "localhost")], None, &["BURSAR_WEB__BIND", "0.0.0.0"]),
        (&[("BURSAR_WEB__WEBHOOK_PATHS", "webhook")], None, &["BURSAR_WEB__WEBHOOK_PATHS", "\"webhook\""]),
        (&[("BURSAR_WEB__WEBHOOK_PATHS", "/a,/healthz")], None, &["BURSAR_WEB__WEBHOOK_PATHS", "\"/healthz\""]),
        (&[("BURSAR_WEB__MAX_CONECTIONS", "5")], None, &["`web`", "max_conections", "max_connections"]),
        (&[("BURSAR_LOG__FORMAT", "xml")], None, &["BURSAR_LOG__FORMAT", "json"]),
        (
            &[("STRIPE_PRICE_PRO", "price_x"), ("STRIPE_PRICE_TEAM", "price_x")],
            None,
            &["STRIPE_PRICE_TEAM", "tiers.pro.prices"],
        ),
        (&[("STRIPE_PRICE_PRO", "price_x,")], None, &["STRIPE_PRICE_PRO", "\"\""]),
        (&[], Some("[payuot]\ncurrency = \"usd\""), &["payuot", "payout"]),
        (&[], Some("[payout]\ncurrency = \"dollars\""), &["payout.currency", "dollars"]),
        (&[], Some("[payout]\nminor_units_per_credit = -5"), &["BURSAR_PAYOUT__MINOR_UNITS_PER_CREDIT", "-5"]),
        (&[], Some("[payout]\nminor_units_per_credit = \"fifty\""), &["payout.minor_units_per_credit", "fifty"]),
        (&[], Some("[payout]\nminor_units_per_credit = true"), &["payout.minor_units_per_credit", "true"]),
        (&[], Some("[credits]\ninitial = -1"), &["credits.initial", "-1"]),
        (&[], Some("[skills]\nresearch = 0"), &["skills.research", "more than 0"]),
        (&[], Some("[skills]\nresearch = nan"), &["skills.research", "NaN"]),
        (&[], Some("[tiers.gold]\nprices = [\"price_g\"]"), &["tiers.gold.credits", "not set"]),
        (&[("BURSAR_PACKAGES__SMALL__AMOUNT", "9.999")], None, &["packages.small.amount", "9.999", "2 decimals"]),
        (&[("BURSAR_PACKAGES__SMALL__CURRENCY", "jpy")], None, &["packages.small.amount", "0 decimals"]),
        (&[("BURSAR_PACKAGES__SMALL__AMOUNT", "29.99")], None, &["packages.small.amount", "packages.medium.amount"]),
        (
            &[("BURSAR_PACKAGES__SMALL__PRICE", "price_x"), ("STRIPE_PRICE_PRO", "price_x")],
            None,
            &["packages.small.price"],
        ),
        (&[], Some("[stripe]\nsecret_key = hunter2"), &["bursar.toml", "line 2"]),
        (&[], Some("[stripe]\nsecret_key = [\"hunter2\"]"), &["stripe.secret_key"]),
        (&[("STRIPE_SECRET_KEY_FILE", "/nonexistent/key")], None, &["STRIPE_SECRET_KEY_FILE", "/nonexistent/key"]),
        (&[("DATABASE_URL_FILE", "/dev/null")], None, &["DATABASE_URL", "DATABASE_URL_FILE too"]),
        (&[("SMTP_URL_FILE", "/dev/null")], None, &["SMTP_URL_FILE", "empty"]),
    ] {
        let refused = refusal(variables, file);
        for word in words {
            assert!(refused.contains(word), "{refused:?} lacks {word:?}");
        }
        assert!(!refused.contains("hunter2") && !refused.contains("hunt er2"), "{refused:?} shows a secret");
    }
}

#[test]
fn a_secret_may_come_from_a_file_and_is_never_shown() {
    let path = std::env::temp_dir().join(format!("bursar-secret-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, "sk_test_hunter2\n").unwrap();
    let settings = read(&[("STRIPE_SECRET_KEY_FILE", path.to_str().unwrap())], None);
    std::fs::remove_file(&path).unwrap();
    let settings = settings.unwrap();
    assert_eq!(settings.stripe().unwrap().secret_key.unwrap().expose(), "sk_test_hunter2");
    let shown = format!("{settings:?} {:?} {:?}", settings.stripe(), settings.web());
    assert!(!shown.contains("hunter2") && !shown.contains("whsec_"), "{shown}");
}

#[test]
fn a_secret_file_that_anybody_may_read_or_write_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("bursar-secret-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, "sk_test_hunter2\n").unwrap();
    let warnings = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read(&[("STRIPE_SECRET_KEY_FILE", path.to_str().unwrap())], None).unwrap().warnings
    };
    let (closed, writable, readable) = (warnings(0o600), warnings(0o666), warnings(0o644));
    std::fs::remove_file(&path).unwrap();
    assert!(closed.is_empty(), "{closed:?}");
    for (said, word) in [(writable, "may write (mode 666)"), (readable, "may read (mode 644)")] {
        let [(seen, remedy)] = &said[..] else { panic!("{said:?}") };
        assert!(seen.contains("STRIPE_SECRET_KEY_FILE") && seen.contains(word), "{said:?}");
        assert!(remedy.contains("chmod 600") && !format!("{said:?}").contains("hunter2"), "{said:?}");
    }
}

#[test]
fn dot_env_is_read_without_quoting_it() {
    let path = std::env::temp_dir().join(format!("bursar-env-{}", uuid::Uuid::new_v4()));
    assert!(dot_env(&path).unwrap().is_empty());
    std::fs::write(&path, "# words\nPORT=4000\nSTRIPE_WEBHOOK_SECRET='whsec_a, whsec_b'\n").unwrap();
    let good = dot_env(&path);
    std::fs::write(&path, "PORT=4000\nsecret = = hunter2 ' \n").unwrap();
    let bad = dot_env(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(good.unwrap()["STRIPE_WEBHOOK_SECRET"], "whsec_a, whsec_b");
    let bad = bad.unwrap_err().to_string();
    assert!(bad.contains(".env") && bad.contains("after 1 good") && !bad.contains("hunter2"), "{bad}");
}

#[test]
fn the_example_lists_every_variable_with_a_name_of_its_own() {
    let example = include_str!("../../.env.example");
    for (variable, _) in layers::NAMED {
        assert!(example.contains(&format!("{variable}=")), "{variable} is missing");
    }
    let path = std::env::temp_dir().join(format!("bursar-example-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, example).unwrap();
    let variables = dot_env(&path);
    std::fs::remove_file(&path).unwrap();
    let settings = Settings::from_parts(&[], variables.unwrap(), None).unwrap();
    // As it stands, it lacks the secrets, and says so first.
    assert!(settings.web().unwrap_err().to_string().starts_with("DATABASE_URL"));
}

#[test]
fn a_tier_says_what_becomes_of_what_is_left_over() {
    use bursar_jobs::terms::Policy;
    let credits = |n| bursar_jobs::base::credits::Credits::whole(n).unwrap();
    let file = "[subscriptions]\ngrace_days = 3\n[tiers.a]\ncredits = 1\n[tiers.b]\ncredits = 1\npolicy = \"reset\"\ntrial_credits = 20\n\
                [tiers.c]\ncredits = 1\npolicy = \"cap\"\ncap_months = 3\n";
    let terms = read(&[], Some(file)).unwrap().terms().unwrap();
    let policies: Vec<_> = terms.tiers.iter().map(|tier| tier.refill.policy).collect();
    assert_eq!(policies, [Policy::Rollover, Policy::Reset, Policy::Cap { months: 3 }]);
    assert_eq!((terms.tiers[0].refill.trial, terms.tiers[1].refill.trial), (credits(0), credits(20)));
    assert_eq!(terms.grace, std::time::Duration::from_hours(72));
    let file = "[tiers.a]\ncredits = 1\nfree = true\n[meters.research]\nevent = 'e'\nprices = ['price_m', 'price_n']";
    let terms = read(&[], Some(file)).unwrap().terms().unwrap();
    assert!(terms.tiers[0].refill.free && terms.is_metered("price_n") && !terms.is_metered("price_o"));
    for (bad, key) in [
        ("policy = \"keep\"", "tiers.a.policy"),
        ("policy = \"cap\"", "tiers.a.cap_months"),
        ("policy = \"cap\"\ncap_months = 0", "tiers.a.cap_months"),
        ("cap_months = 2", "tiers.a.cap_months"),
        ("trial_credits = -1", "tiers.a.trial_credits"),
        ("prices = \"price_m\"\n[meters.research]\nevent = 'e'\nprices = ['price_m']", "tiers.a.prices"),
    ] {
        let refused = refusal(&[], Some(&format!("[tiers.a]\ncredits = 1\n{bad}\n")));
        assert!(refused.contains(key), "{bad}: {refused}");
    }
    assert!(refusal(&[], Some("[subscriptions]\ngrace_days = 400\n")).contains("subscriptions.grace_days"));
}

#[test]
fn what_runs_by_the_calendar_is_judged_by_name() {
    let calendar = |text: &str| read(&[], Some(text)).and_then(|settings| settings.calendar());
    let none = calendar("").unwrap();
    let built_in: Vec<String> = none.schedules.iter().map(|one| format!("{} {}", one.name, one.cron)).collect();
    assert!(none.meters.is_empty() && built_in.contains(&"reconcile 0 5 2 * *".to_owned()), "{built_in:?}");
    assert!(!built_in.iter().any(|one| one.starts_with("weekly_report")), "nobody to write to: {built_in:?}");
    let team = calendar("[letters]\nteam = 'ops@acme.example'").unwrap();
    assert!(team.schedules.iter().any(|one| one.name == "weekly_report" && one.kind == "send_report" && one.built_in));
    let metered = calendar("[meters.research]\nevent = 'research_used'").unwrap();
    assert_eq!(metered.meters.len(), 1);
    assert_eq!(
        metered.schedules.iter().filter(|one| one.name == "usage").map(|one| one.built_in).collect::<Vec<_>>(),
        [true]
    );
    let own = "[meters.research]\nevent = 'e'\nvalue = 'credits'\n[schedules.usage]\ncron = '*/10 * * * *'\nkind = 'sum_usage'";
    let own = calendar(own).unwrap();
    assert_eq!(
        own.schedules
            .iter()
            .filter(|one| one.name == "usage")
            .map(|one| (one.cron.to_string(), one.built_in))
            .collect::<Vec<_>>(),
        [("*/10 * * * *".into(), false)]
    );
    for (text, wanted) in [
        ("[meters.juggling]\nevent = 'e'", "names no skill"),
        ("[meters.research]\nevent = ''", "`meters.research.event`"),
        ("[meters.research]\nevent = 'e'\nvalue = 'tons'", "Write `count` or `credits`"),
        ("[schedules.'a:b']\ncron = '@daily'\nkind = 'sum_usage'", "no name of a schedule"),
        ("[schedules.a]\ncron = '@daily'\nkind = 'fire_schedule'", "`schedules.a.kind`"),
        ("[schedules.a]\nkind = 'sum_usage'", "cron"),
    ] {
        let refused = calendar(text).expect_err(text).to_string();
        assert!(refused.contains(wanted), "{text}: {refused}");
    }
}

#[test]
fn the_team_is_told_at_an_address_with_a_secret() {
    let notify = |text: &str| read(&[], Some(text)).and_then(|settings| settings.notify());
    assert!(notify("").unwrap().is_none());
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    assert!(notify(&format!("[notify]\nurl = 'https://example.com/hook'\nsecret = '{secret}'")).unwrap().is_some());
    for (text, wanted) in [
        ("[notify]\nurl = 'https://example.com'".to_owned(), "notify.secret"),
        ("[notify]\nurl = 'https://example.com'\nsecret = 'short'".to_owned(), "notify.secret"),
        (format!("[notify]\nurl = 'https://example.com'\nsecret = 'whsec_{}'", "A".repeat(32)), "and can be guessed"),
        (format!("[notify]\nurl = 'ftp://example.com'\nsecret = '{secret}'"), "notify.url"),
    ] {
        let refused = notify(&text).expect_err(&text).to_string();
        assert!(refused.contains(wanted) && !refused.contains(secret), "{text}: {refused}");
    }
}

#[test]
fn a_sandbox_is_where_calls_really_go() {
    let is_local = |base| read(&[("STRIPE_API_BASE", base)], None).unwrap().stripe().unwrap().is_local();
    for base in ["http://127.0.0.1:12111", "http://localhost", "http://[::1]:1/x", "http://a@127.0.0.1"] {
        assert!(is_local(base), "{base}");
    }
    for base in ["https://api.stripe.com", "http://127.0.0.1:80@api.stripe.com", "https://localhost.example.com"] {
        assert!(!is_local(base), "{base}");
    }
}

#[test]
fn the_rate_at_stripe_follows_the_mode() {
    let rate = |variables: &[(&str, &str)]| read(variables, None).unwrap().stripe().map(|s| s.requests_per_second);
    assert_eq!(rate(&[("STRIPE_SECRET_KEY", "sk_live_1")]).unwrap(), Some(100));
    assert_eq!(rate(&[("STRIPE_SECRET_KEY", "sk_test_1")]).unwrap(), Some(25));
    let sandbox = ("STRIPE_API_BASE", "http://127.0.0.1:12111");
    assert_eq!(rate(&[("STRIPE_SECRET_KEY", "sk_test_1"), sandbox]).unwrap(), None);
    assert_eq!(rate(&[sandbox, ("BURSAR_STRIPE__REQUESTS_PER_SECOND", "7")]).unwrap(), Some(7));
    for bad in ["0", "many", "2.5", "-1"] {
        let refused = rate(&[("BURSAR_STRIPE__REQUESTS_PER_SECOND", bad)]).unwrap_err().to_string();
        assert!(refused.contains("requests_per_second"), "{bad}: {refused}");
    }
}

#[test]
fn the_schedule_of_dunning_is_in_order() {
    let read = |file: &str| read(&[], Some(file)).unwrap().terms().unwrap().dunning;
    assert_eq!(
        read(""),
        bursar_jobs::dunning::Dunning::default(),
        "the defaults of the file and of the jobs are the same"
    );
    let own = read(
        "[dunning]\nretry_days = []\nletter_days = [0, 10]\nfinal_day = 14\nfinal = \"cancel\"\n[letters]\nportal_url = \"https://shop.example/me\"",
    );
    assert_eq!((own.schedule.retry_days, own.schedule.letter_days), (vec![], vec![0, 10]));
    assert_eq!((own.schedule.final_day, own.schedule.last), (14, bursar_jobs::dunning::Final::Cancel));
    assert_eq!(own.portal_url.as_deref(), Some("https://shop.example/me"));
    for (file, words) in [
        ("retry_days = [3, 1]", &["dunning.retry_days", "3 before 1"][..]),
        ("retry_days = [1, 1]", &["dunning.retry_days"]),
        ("retry_days = [0]", &["dunning.retry_days", "from 1 to 60"]),
        ("letter_days = [-1]", &["dunning.letter_days"]),
        ("final_day = 6", &["dunning.final_day", "the last retry is on day 7"]),
        ("final_day = 61", &["dunning.final_day", "from 1 to 60"]),
        ("final = \"shrug\"", &["dunning.final", "pause, cancel or none"]),
        ("[letters]\nportal_url = \"shop.example\"", &["letters.portal_url", "http"]),
    ] {
        let refused = refusal(&[], Some(&format!("[dunning]\n{file}")));
        assert!(words.iter().all(|word| refused.contains(word)), "{file}: {refused}");
    }
    let by_variable = [("BURSAR_DUNNING__RETRY_DAYS", "2,4"), ("BURSAR_DUNNING__LETTER_DAYS", "")];
    let schedule = super::Settings::from_parts(&[], by_variable.map(|(k, v)| (k.to_owned(), v.to_owned())), None);
    let schedule = schedule.unwrap().terms().unwrap().dunning.schedule;
    assert_eq!((schedule.retry_days, schedule.letter_days), (vec![2, 4], vec![0, 3, 5]), "an empty variable is none");
}
