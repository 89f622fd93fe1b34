//! What a previous run left: a server that still runs, and the files by which a new one would refuse to start.
//!
//! The folder's lock is ours by now, so whatever runs on the data has lost its owner.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bursar_jobs::base::clock;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{PostgresError, at};

/// How long each kind of word is given, from the politest on. A fast shutdown writes a checkpoint first.
const WORDS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(10)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One process of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
}

/// Stops whatever server runs on the data. Says whether there was one.
pub(super) async fn stop(data: &Path) -> Result<bool, PostgresError> {
    // Processes tell the path they went to, with its links resolved.
    let Ok(data) = data.canonicalize() else { return Ok(false) };
    let mut running = processes(&data);
    let found = !running.is_empty();
    for (word, patience) in WORDS {
        let begun = clock::monotonic();
        // SIGINT to a backend would end a query, not the server: it is for the one whose parent is none of them.
        let all = running.iter().map(|process| process.pid).collect::<Vec<_>>();
        for process in &running {
            if word != Signal::SIGINT || !all.contains(&process.parent) {
                // One that ended meanwhile is what we want.
                kill(Pid::from_raw(process.pid), word).unwrap_or_default();
            }
        }
        while !running.is_empty() && begun.elapsed() < patience {
            tokio::time::sleep(LOOK_AGAIN).await;
            running = processes(&data);
        }
        if running.is_empty() {
            return Ok(found);
        }
    }
    let pids = running.iter().map(|process| process.pid.to_string()).collect::<Vec<_>>();
    Err(PostgresError::Leftover(pids.join(", ")))
}

/// Removes the files that name a server which is gone; their pid may be some other process's by now.
pub(super) fn remove_stale_files(data: &Path, socket: &Path) -> Result<(), PostgresError> {
    for path in [data.join("postmaster.pid"), socket.join(".s.PGSQL.5432"), socket.join(".s.PGSQL.5432.lock")] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// The living processes of the server that runs on the data. A zombie is not one: nobody may ever reap it.
fn processes(data: &Path) -> Vec<Process> {
    match fs::read_dir("/proc") {
        Ok(entries) if Path::new("/proc/self/stat").exists() => {
            entries.filter_map(|entry| from_proc(&entry.ok()?.path(), data)).collect()
        }
        _ => from_pid_file(data).into_iter().collect(),
    }
}

/// Linux: every process of a server works in its data folder.
fn from_proc(process: &Path, data: &Path) -> Option<Process> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    if fs::read_link(process.join("cwd")).ok()?.as_path() != data {
        return None;
    }
    parse_stat(pid, &fs::read_to_string(process.join("stat")).ok()?)
}

/// `pid (name) state parent …`; the name may hold anything.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let mut fields = tail.split_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    (is_server(name) && !matches!(state, "Z" | "X")).then_some(Process { pid, parent })
}

/// Elsewhere: the pid that the server wrote down, if that process is one.
fn from_pid_file(data: &Path) -> Option<Process> {
    let pid: i32 = fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()?;
    let said = Command::new("ps").args(["-o", "stat=,comm=", "-p", &pid.to_string()]).output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (state, command) = said.trim().split_once(char::is_whitespace)?;
    let name = PathBuf::from(command.trim()).file_name()?.to_string_lossy().into_owned();
    (is_server(&name) && !state.starts_with('Z')).then_some(Process { pid, parent: 0 })
}

fn is_server(name: &str) -> bool {
    matches!(name, "postgres" | "postmaster")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_and_a_stranger_are_no_server() {
        assert_eq!(parse_stat(7, "7 (postgres) S 1 7 7 0"), Some(Process { pid: 7, parent: 1 }));
        assert_eq!(parse_stat(7, "7 (postgres) Z 1 7 7 0"), None);
        assert_eq!(parse_stat(7, "7 (bash) S 1 7 7 0"), None);
        assert_eq!(parse_stat(7, "7 (a (postgres) S) S 1 7 7 0"), None);
    }
}
