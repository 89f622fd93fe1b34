//! The command line as a whole: examples, completions, pages, JSON, and what of it is on record.

use bursar::cli::Cli;
use clap::{Command, CommandFactory};
use serde_json::Value;

use super::{ask, plant};
use crate::support::{bursar, database, scratch};

/// Every command, with its words.
fn commands(of: &Command, words: &[String], out: &mut Vec<(Vec<String>, Command)>) {
    for command in of.get_subcommands().filter(|command| command.get_name() != "help") {
        let words = [words, &[command.get_name().to_owned()]].concat();
        commands(command, &words, out);
        out.push((words, command.clone()));
    }
}

fn all() -> Vec<(Vec<String>, Command)> {
    let mut out = Vec::new();
    let mut root = Cli::command();
    root.build();
    commands(&root, &[], &mut out);
    assert!(out.len() > 50, "{}", out.len());
    out
}

#[test]
fn every_command_shows_an_example_of_itself() {
    for (words, mut command) in all() {
        let help = command.render_long_help().to_string();
        let examples = help.replace("Examples:", "Example:");
        let (_, examples) =
            examples.split_once("Example:\n  ").unwrap_or_else(|| panic!("{words:?} has none:\n{help}"));
        assert!(examples.contains(&format!("bursar {}", words.join(" "))), "{words:?}: {examples}");
    }
}

/// The words of a line as a shell has them: what follows is cut off.
fn shell(line: &str) -> Vec<String> {
    let line = [" | ", " > ", "   "].iter().fold(line, |line, end| line.split(end).next().unwrap_or_default());
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.trim().chars() {
        match (c, quoted, words.last_mut()) {
            ('\'', ..) => quoted = !quoted,
            (' ', false, _) => words.push(String::new()),
            (c, _, Some(word)) => word.push(c),
            (_, _, None) => {}
        }
    }
    assert!(!quoted, "{line}");
    words
}

#[test]
fn every_example_is_taken_as_it_is_written() {
    let (mut of_root, mut tried) = (Cli::command(), 0);
    of_root.build();
    let helps = all().into_iter().map(|(_, mut command)| command.render_long_help().to_string());
    for help in helps.chain([of_root.render_long_help().to_string()]) {
        let examples = help.replace("Examples:", "Example:");
        let Some((_, examples)) = examples.split_once("Example:\n") else { continue };
        for line in examples.lines().take_while(|line| !line.is_empty()).filter(|line| line.contains("bursar ")) {
            let words = shell(&line[line.find("bursar ").unwrap()..]);
            if let Err(error) = Cli::command().try_get_matches_from(&words) {
                panic!("{line}: {error}");
            }
            tried += 1;
        }
    }
    assert!(tried > 60, "{tried}");
}

/// What, to what, who, before, after, why.
type Noted = (String, String, String, Option<Value>, Option<Value>, Option<String>);

/// Commands that read, by what they are called.
fn reads(words: &[String]) -> bool {
    let last = words.last().map(String::as_str).unwrap_or_default();
    matches!(last, "list" | "show" | "balance" | "history" | "verify" | "report" | "gaps")
}

#[test]
fn every_command_that_reads_answers_in_json_too() {
    let read: Vec<_> = all().into_iter().filter(|(words, _)| reads(words)).collect();
    assert!(read.len() >= 18, "{}", read.len());
    for (words, command) in read {
        let has = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        assert!(has, "{words:?} has no --json");
    }
}

#[test]
fn a_shell_gets_its_completions_and_man_its_pages() {
    for (shell, mark) in [("bash", "_bursar()"), ("zsh", "#compdef bursar"), ("fish", "complete -c bursar")] {
        let said = bursar(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(said.stdout).unwrap();
        assert!(said.status.success() && script.contains(mark), "{shell}");
        assert!(script.contains("payouts") && script.contains("dry-run"), "{shell} knows commands and options");
    }
    assert_eq!(bursar(&["completions", "tcsh"]).output().unwrap().status.code(), Some(2));
    let page = bursar(&["man"]).output().unwrap();
    assert!(page.status.success() && String::from_utf8(page.stdout).unwrap().contains(".TH bursar 1"));
    let folder = scratch();
    let made = bursar(&["man", folder.join("man1").to_str().unwrap()]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for (words, _) in all() {
        let page = folder.join("man1").join(format!("bursar-{}.1", words.join("-")));
        assert!(std::fs::read_to_string(&page).is_ok_and(|text| text.contains("Example")), "{}", page.display());
    }
}

#[tokio::test]
async fn what_an_operator_does_by_the_command_line_is_on_record_once() {
    let db = database().await;
    plant(
        &db,
        "INSERT INTO bursar.schedule (name, cron, kind, args, catch_up, source) VALUES ('nightly', '0 3 * * *', 'sweep_held', '{}', 'once', 'settings');
         INSERT INTO bursar.subscription (id, user_id, status, price, quantity, plan_value, cancel_at_period_end, asked_at)
         VALUES ('sub_1', 'alice', 'active', 'price_1', 1, 0, false, bursar.now())",
    )
    .await;
    for act in [
        &["credits", "grant", "alice", "25", "--key", "k", "--why", "outage", "--by", "ada"][..],
        // The same again changes nothing, and is no act.
        &["credits", "grant", "alice", "25", "--key", "k", "--why", "outage", "--by", "ada"],
        &["credits", "revoke", "alice", "5", "--key", "r", "--why", "too much"],
        &["credits", "spend", "alice", "2", "--key", "s", "--ref", "job-9"],
        &["credits", "spend", "alice", "2", "--key", "s", "--ref", "job-9"],
        &["schedule", "pause", "nightly"],
        &["schedule", "resume", "nightly"],
        &["schedule", "run", "nightly"],
        &["subscriptions", "move", "sub_1", "--price", "price_2"],
    ] {
        ask(&db, act).ended(0);
    }
    for refused in [
        &["credits", "spend", "alice", "500", "--key", "t"][..],
        &["credits", "grant", "alice", "26", "--key", "k", "--why", "another amount"],
    ] {
        ask(&db, refused).ended(1);
    }
    ask(&db, &["schedule", "pause", "daily"]).ended(3);
    let rows: Vec<Noted> =
        sqlx::query_as("SELECT what, subject, who, before, after, why FROM bursar.audit WHERE via = 'cli' ORDER BY id")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    let acts: Vec<(&str, &str)> = rows.iter().map(|row| (row.0.as_str(), row.1.as_str())).collect();
    assert_eq!(
        acts,
        [
            ("credits.grant", "alice"),
            ("credits.revoke", "alice"),
            ("credits.spend", "alice"),
            ("schedule.pause", "nightly"),
            ("schedule.resume", "nightly"),
            ("schedule.run", "nightly"),
            ("subscriptions.move", "sub_1"),
        ]
    );
    let (_, _, who, _, after, why) = &rows[0];
    assert_eq!((who.as_str(), why.as_deref()), ("ada", Some("outage")));
    assert_eq!(after.as_ref().map(|after| &after["amount"]), Some(&Value::from("25")));
    let (_, _, _, before, after, _) = &rows[6];
    assert_eq!(before.as_ref().map(|before| &before["price"]), Some(&Value::from("price_1")));
    assert_eq!(after.as_ref().map(|after| &after["price"]), Some(&Value::from("price_2")));
}
