//! The private PostgreSQL and crashes: of its owner, of its watchdog, of the server itself.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection, PgConnection};

use crate::{
    dev_postgres::{notes, start},
    support::{self, Child, eventually},
};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn it_ends_with_its_owner_and_starts_over_what_a_crash_left() {
    let folder = support::scratch();
    let mut owner = owner(&folder);
    let begun = running(&folder).await;
    assert!(!begun.is_empty());

    // The owner dies without a word; nobody is left who could stop the server, except its watchdog.
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually(SOON, || async {
        let left = processes_on(&folder);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;

    let server = start(&folder, false).await.unwrap();
    assert_eq!(notes(&server).await, ["before"]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_starts_over_a_server_that_was_left_running() {
    let folder = support::scratch();
    let mut owner = owner(&folder);
    let begun = running(&folder).await;
    // First the watchdog, so that the server stays behind; its shells are the parents of the server's first process.
    for pid in watchdogs_of(&begun) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();

    let server = start(&folder, false).await.unwrap();
    assert_eq!(notes(&server).await, ["before"]);
    assert!(begun.iter().all(|pid| !processes_on(&folder).contains(pid)), "the old server is gone");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_starts_after_all_of_it_was_killed_with_a_pid_file_that_names_a_stranger() {
    let folder = support::scratch();
    let mut owner = owner(&folder);
    let begun = running(&folder).await;
    for pid in watchdogs_of(&begun).into_iter().chain(begun) {
        // Backends end with the first of them.
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    // The pid was given to another process since: PostgreSQL alone would refuse to start.
    let pid_file = folder.join("postgres/data/postmaster.pid");
    let stale = std::fs::read_to_string(&pid_file).unwrap();
    let rest = stale.split_once('\n').unwrap().1;
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();

    let server = start(&folder, false).await.unwrap();
    assert_eq!(notes(&server).await, ["before"]);
    server.stop().await.unwrap();
}

/// A process that owns a server in this folder, for a test to kill.
fn owner(folder: &Path) -> Child {
    let mut command = Command::new(support::probe_program());
    support::program::clear_environment(&mut command).env("PROBE_OWN_SERVER", folder.join("postgres"));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Child::spawn(&mut command)
}

/// Waits until the owner has left its word in the data; the pids of its processes.
async fn running(folder: &Path) -> Vec<i32> {
    let url = format!("postgres://postgres@localhost/postgres?host={}", folder.join("postgres/socket").display());
    eventually(SOON, || async {
        let mut db = PgConnection::connect(&url).await?;
        sqlx::query("SELECT FROM notes").fetch_one(&mut db).await?;
        db.close().await
    })
    .await;
    processes_on(folder)
}

/// The living processes that work in the server's data folder, first the one that the others come from.
fn processes_on(folder: &Path) -> Vec<i32> {
    let Ok(data) = folder.join("postgres/data").canonicalize() else { return Vec::new() };
    let mut pids: Vec<i32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let process = entry.ok()?.path();
            let here = std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == data);
            let pid = process.file_name()?.to_str()?.parse().ok()?;
            (here && field(pid, 0)? != "Z").then_some(pid)
        })
        .collect();
    pids.sort_unstable();
    pids
}

/// The shells that guard a server: the parent of its first process, and that shell's other children.
fn watchdogs_of(server: &[i32]) -> Vec<i32> {
    let shell: i32 = field(server[0], 1).unwrap().parse().unwrap();
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    let others = children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| !server.contains(pid));
    std::iter::once(shell).chain(others).collect()
}

/// A field of `/proc/<pid>/stat` after the name: the state, the parent …
fn field(pid: i32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(index).map(String::from)
}
