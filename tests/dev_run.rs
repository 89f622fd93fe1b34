//! `bursar dev` as its user meets it: from nothing to an effect in the books, stopped, killed, started again.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use bursar::dev::{Instance, postgres::default_folder, running_instance};
use nix::sys::signal::Signal;
use sqlx::PgPool;

use crate::support::{self, Child, eventually, program::Scratch};

const SOON: Duration = Duration::from_secs(30);
const CHECKOUT: &str = "fixtures/checkout.session.completed.json";

#[tokio::test]
async fn the_printed_lines_have_their_effects_and_the_data_stays() {
    let folder = Folder::new();
    let mut dev = folder.start(&["dev"]).await;
    let printed = fs::read_to_string(folder.join("out")).unwrap();
    let lines: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 11, "{printed}");
    for line in &lines[..3] {
        let sent = folder.paste(line);
        assert!(said(&sent).ends_with("{\"received\":true}"), "{line}: {sent:?}");
    }
    folder.balance_becomes("350").await;
    let shown = said(&folder.paste(lines[3]));
    for part in ["350", "cs_test_a1bursarCheckout0001", "in_1SVbursarInvoice0001"] {
        assert!(shown.contains(part), "{shown}");
    }
    folder
        .eventually(
            "SELECT amount || ' ' || currency || ' ' || state FROM bursar.payout WHERE receiver_id = 'bob'",
            "100 usd paid",
        )
        .await;
    let payout = said(&folder.paste(lines[4]));
    assert!(payout.contains("tr_") && payout.contains("under payout:job_0001:1"), "{payout}");
    assert!(
        lines[5].starts_with("curl -s http://127.0.0.1:") && lines[5].ends_with("/_sandbox/ledger"),
        "{}",
        lines[5]
    );
    // These two are played in `stripe_cli`, with the real one.
    assert!(lines[9].starts_with("stripe listen --api-base http://127.0.0.1:"), "{}", lines[9]);
    assert!(lines[10].starts_with("stripe trigger invoice.paid --api-base http://127.0.0.1:"), "{}", lines[10]);
    let asked = said(&folder.paste(&lines[5].replace("/ledger", "/requests")));
    let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
    let ours = |r: &&serde_json::Value| r["user_agent"].as_str().is_some_and(|agent| agent.starts_with("bursar/"));
    let ours: Vec<_> = asked["requests"].as_array().unwrap().iter().filter(ours).collect();
    assert!(ours.len() >= 2, "a look and a Transfer: {asked}");
    assert!(ours.iter().all(|request| request["refused_unknown"].is_null()), "{asked}");

    dev.signal(Signal::SIGTERM);
    assert!(dev.wait().unwrap().success(), "{}", folder.words());
    assert!(folder.instance().is_none());
    assert!(!default_folder(&folder).join("data/postmaster.pid").exists(), "PostgreSQL has stopped too");

    let mut again = folder.start(&["dev"]).await;
    folder.balance_becomes("350").await;
    again.signal(Signal::SIGINT);
    assert!(again.wait().unwrap().success(), "{}", folder.words());

    let _fresh = folder.start(&["dev", "--fresh"]).await;
    folder.balance_becomes("0").await;
}

#[tokio::test]
async fn the_doctor_finds_it_by_itself_and_nothing_fails() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    let seen = eventually(SOON, || async {
        // The worker is there a moment after web is.
        let seen = bursar_in(&folder);
        let words = said(&seen);
        if seen.status.success() && words.contains("1 alive") { Ok(words) } else { Err(words) }
    })
    .await;
    for check in ["stripe.webhook ", "stripe.connect_webhook", "stripe.tier.pro", "web.url", "database.mode", "letters"]
    {
        assert!(seen.contains(check), "{check}: {seen}");
    }
}

fn bursar_in(folder: &Path) -> Output {
    support::bursar(&["doctor"]).current_dir(folder).output().unwrap()
}

#[tokio::test]
async fn what_is_sold_is_bought_on_a_page_and_its_months_are_played() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    let printed = fs::read_to_string(folder.join("out")).unwrap();
    let line = |begin: &str| printed.lines().map(str::trim).find(|line| line.contains(begin)).unwrap().to_owned();
    let answer = said(&folder.paste(&line("/api/stripe/checkout")));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let page = answer["url"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(said(&folder.paste(&format!("curl -s {page}"))).contains("This is not Stripe"));
    folder.paste(&format!("curl -s {page} -d quick=4242424242424242"));
    folder.eventually("SELECT trim_scale(bursar.balance('dana'))::text", "150").await;
    let months = said(&folder.paste(&line("sandbox advance")));
    assert!(months.contains("63 days on"), "{months}");
    let history = said(&folder.paste(&line("credits history dana")));
    assert_eq!(history.matches("+150 credits").count(), 3, "{history}");
    assert!(history.contains("450 credits"), "{history}");
}

#[tokio::test]
async fn an_event_twice_or_in_two_layouts_is_one_effect() {
    let folder = Folder::new();
    let _dev = folder.start(&["dev"]).await;
    assert_eq!(said(&folder.send(&[CHECKOUT])), "200 {\"received\":true}");
    assert_eq!(said(&folder.send(&[CHECKOUT])), "200 {\"received\":true,\"duplicate\":true}");
    for layout in ["fixtures/invoice.paid.json", "fixtures/invoice.paid.legacy.json"] {
        assert_eq!(said(&folder.send(&[layout])), "200 {\"received\":true}");
    }
    folder
        .eventually(
            "SELECT count(*)::text FROM bursar.job WHERE state = 'done' AND kind IN ('grant_purchase', 'refill_tier')",
            "3",
        )
        .await;
    folder.balance_becomes("350").await;

    assert_eq!(said(&folder.send(&[CHECKOUT, "--new"])), "200 {\"received\":true}");
    folder.balance_becomes("550").await;
}

#[tokio::test]
async fn killed_it_starts_again_with_what_was_acknowledged() {
    let folder = Folder::new();
    let mut dev = folder.start(&["dev"]).await;
    assert!(folder.send(&[CHECKOUT]).status.success());
    dev.kill().unwrap();
    dev.wait().unwrap();
    assert!(folder.instance().is_none(), "a crash is not taken for a running one");
    let refused = folder.send(&[CHECKOUT]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no `bursar dev` runs"), "{refused:?}");

    let _dev = folder.start(&["dev"]).await;
    folder.balance_becomes("200").await;
}

#[tokio::test]
async fn a_taken_port_and_a_second_one_in_the_folder() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let _dev = folder.start_with(folder.command(&["dev"]).env("PORT", port.to_string())).await;
    assert!(folder.words().contains(&format!("port {port} is taken")), "{}", folder.words());

    let second = folder.command(&["dev", "--fresh"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("runs in this folder already"), "{second:?}");
    assert!(folder.send(&[CHECKOUT]).status.success(), "the first one lives on");
}

#[tokio::test]
async fn a_database_that_is_named_is_used_and_not_wiped() {
    let folder = Folder::new();
    let database = support::database().await;
    let wiping = folder.command(&["dev", "--fresh"]).env("DATABASE_URL", &database.url).output().unwrap();
    assert_eq!(wiping.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wiping.stderr).contains("unset DATABASE_URL"), "{wiping:?}");

    let _dev = folder.start_with(folder.command(&["dev"]).env("DATABASE_URL", &database.url)).await;
    assert!(folder.send(&[CHECKOUT]).status.success());
    eventually(SOON, || async {
        let balance = bursar_jobs::ledger::balance(&database.pool, "alice").await.unwrap().to_string();
        if balance == "200" { Ok(()) } else { Err(balance) }
    })
    .await;
    assert!(!default_folder(&folder).exists(), "no other was made");
}

/// A folder to run `bursar dev` in, with the fixtures in it.
pub struct Folder(Scratch);

impl std::ops::Deref for Folder {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Folder {
    pub fn new() -> Self {
        let folder = support::scratch();
        std::os::unix::fs::symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"), folder.join("fixtures")).unwrap();
        Self(folder)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = support::bursar(args);
        command.current_dir(&**self).env("PORT", "0");
        command
    }

    pub async fn start(&self, args: &[&str]) -> Child {
        self.start_with(&mut self.command(args)).await
    }

    pub async fn start_with(&self, command: &mut Command) -> Child {
        let out = File::create(self.join("out")).unwrap();
        let err = File::create(self.join("err")).unwrap();
        let child = Child::spawn(command.stdout(out).stderr(err));
        eventually(SOON, || async {
            let printed = fs::read_to_string(self.join("out")).unwrap();
            if printed.contains("Ctrl-C") { Ok(()) } else { Err(self.words()) }
        })
        .await;
        child
    }

    fn send(&self, args: &[&str]) -> Output {
        self.command(&[&["dev", "send"], args].concat()).output().unwrap()
    }

    /// Runs a line as a shell in this folder would.
    pub fn paste(&self, line: &str) -> Output {
        let mut shell = Command::new("/bin/sh");
        let output = shell.args(["-c", line]).env_remove("DATABASE_URL").current_dir(&**self).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        output
    }

    pub fn instance(&self) -> Option<Instance> {
        running_instance(&self.0)
    }

    /// What it said on the way.
    pub fn words(&self) -> String {
        fs::read_to_string(self.join("err")).unwrap()
    }

    async fn balance_becomes(&self, credits: &str) {
        self.eventually("SELECT trim_scale(bursar.balance('alice'))::text", credits).await;
    }

    pub async fn eventually(&self, query: &'static str, wanted: &str) {
        let url = self.instance().expect("it runs").database_url;
        let db = PgPool::connect(&url).await.unwrap();
        eventually(SOON, || async {
            let seen: Option<String> = sqlx::query_scalar(query).fetch_optional(&db).await.unwrap();
            if seen.as_deref() == Some(wanted) { Ok(()) } else { Err(seen) }
        })
        .await;
        db.close().await;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // For root the data lies elsewhere. A server that is about to end with its owner may still write there: a few looks.
        let data = default_folder(&self.0);
        for _ in 0..100 {
            if !data.exists() {
                break;
            }
            drop(fs::remove_dir_all(&data));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
