//! The dashboard, the alerts and the README speak of the metrics there are, and the alerts of commands there are. What the processes show is
//! held against the same list in `counted`.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use bursar::{
    cli::Cli,
    telemetry::names::{self, From, Type},
};
use clap::Parser;
use serde_json::Value;

use super::promql;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Judges an expression, and returns the metrics that it speaks of.
fn judge(expression: &str) -> BTreeSet<&'static str> {
    let selected = promql::read(expression).unwrap_or_else(|error| panic!("{expression}\n{error}"));
    assert!(!selected.is_empty(), "{expression}");
    let mut metrics = BTreeSet::new();
    for one in selected {
        let known = names::ALL.iter().find(|metric| match metric.kind {
            Type::Histogram => {
                ["_bucket", "_sum", "_count"].iter().any(|end| format!("{}{end}", metric.name) == one.name)
            }
            Type::Counter | Type::Gauge => metric.name == one.name,
        });
        let metric = known.unwrap_or_else(|| panic!("{expression}\nno metric is called {}", one.name));
        for label in &one.labels {
            let is_known = metric.labels.contains(&label.as_str())
                || (label == "le" && metric.kind == Type::Histogram)
                || label == "instance";
            assert!(is_known, "{expression}\n{} has no label {label}", one.name);
        }
        assert_eq!(
            one.has_range,
            metric.kind != Type::Gauge,
            "{expression}\na counter is read by its rate, a gauge is not"
        );
        metrics.insert(metric.name);
    }
    metrics
}

/// Numbers of the database are the same from every process: a sum over them would count each as often as there are processes.
fn sums_nothing_twice(expression: &str, metrics: &BTreeSet<&str>) {
    let of_database = names::ALL.iter().filter(|metric| metric.from == From::Database && metrics.contains(metric.name));
    for metric in of_database {
        let bare = expression.replace(&format!("({}", metric.name), "(…");
        let direct = bare.contains("sum(…") || bare.contains(&format!("sum by (state) ({}", metric.name));
        assert!(!direct, "{expression}\n{} is the same from every process: take its max first", metric.name);
    }
}

#[test]
fn the_dashboard_speaks_of_metrics_that_are_shown_and_of_each() {
    let dashboard: Value = serde_json::from_str(&file("fixtures/grafana/bursar.json")).unwrap();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()));
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{}", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let metrics = judge(expression);
            sums_nothing_twice(expression, &metrics);
            shown.extend(metrics);
        }
    }
    let all: BTreeSet<&str> = names::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, all, "each metric has its place");
}

/// The lines of an alert, which the file writes one a line.
fn alerts() -> Vec<Vec<(String, String)>> {
    let text = file("fixtures/prometheus/alerts.yml");
    let mut alerts: Vec<Vec<(String, String)>> = Vec::new();
    for line in text.lines().skip_while(|line| !line.contains("- alert:")) {
        if line.trim_start().starts_with("- alert:") {
            alerts.push(Vec::new());
        }
        let (key, value) =
            line.trim_start().trim_start_matches("- ").split_once(':').unwrap_or_else(|| panic!("{line}"));
        let value = value.trim();
        let quoted = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        alerts.last_mut().unwrap().push((key.to_owned(), quoted.unwrap_or(value).replace("''", "'")));
    }
    alerts
}

#[test]
fn each_alert_speaks_of_metrics_that_are_shown_and_says_which_command_to_run() {
    let alerts = alerts();
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let field = |wanted: &str| {
            let found = alert.iter().find(|(key, _)| key == wanted);
            found.map_or_else(|| panic!("{alert:?} has no {wanted}"), |(_, value)| value.as_str())
        };
        assert!(names.insert(field("alert").to_owned()), "{alert:?} is there twice");
        let expression = field("expr");
        sums_nothing_twice(expression, &judge(expression));
        assert!(["warning", "critical"].contains(&field("severity")));
        let minutes = field("for").trim_end_matches(['m', 'h', 's']);
        assert!(minutes.parse::<u32>().is_ok(), "{alert:?}");
        assert!(field("summary").ends_with('.') && field("runbook").ends_with('.'), "{alert:?}: sentences");
        for command in field("runbook").split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("bursar ")) {
            let parsed = Cli::try_parse_from(command.split_whitespace());
            assert!(parsed.is_ok(), "{command}: {}", parsed.err().unwrap());
        }
    }
    let wanted = [
        "BursarPaymentFailures",
        "BursarEventsMissed",
        "BursarEventWatchBehind",
        "BursarOldestReady",
        "BursarPayoutsUnknown",
        "BursarJobsDead",
        "BursarScheduleOverdue",
        "BursarLettersDead",
        "BursarLedgerDrift",
        "BursarWebGone",
        "BursarWebUnavailable",
        "BursarWebErrors",
    ];
    for name in wanted {
        assert!(names.contains(name), "{name}");
    }
}

/// Each alert fires when its thing happens, and none on a healthy day or on a new installation: by Prometheus itself, where its `promtool` is.
#[test]
fn each_alert_fires_when_it_should_and_is_silent_otherwise() {
    let scenes = file("fixtures/prometheus/alerts_test.yml");
    for alert in alerts() {
        let (_, name) = alert.iter().find(|(key, _)| key == "alert").unwrap();
        assert!(scenes.contains(&format!("alertname=\"{name}\"")), "no scene has {name} fire");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/prometheus");
    match Command::new("promtool").args(["test", "rules", "alerts_test.yml"]).current_dir(folder).output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(error) => {
            eprintln!("no alert was tried, for promtool cannot be run ({error}): install Debian's `prometheus`");
        }
    }
}

#[test]
fn the_readme_s_table_is_the_list_of_names() {
    let rows: BTreeSet<String> = names::ALL.iter().map(row).collect();
    let readme = file("README.md");
    let Some((_, section)) = readme.split_once("| metric | labels |") else { return };
    let mut table = BTreeSet::new();
    for line in section.lines().skip(2).take_while(|line| line.starts_with('|')) {
        table.insert(line.to_owned());
    }
    assert_eq!(table, rows, "run this test with --nocapture for the rows");
}

/// A row of the README's table.
fn row(metric: &names::Metric) -> String {
    let from = match metric.from {
        From::Process => "each process",
        From::Web => "web",
        From::Http => "web, api",
        From::Worker => "worker",
        From::Database => "worker, api",
    };
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let row = format!("| `{}` | {} | {from} | {} |", metric.name, labels.join(", "), metric.help);
    println!("{row}");
    row
}
