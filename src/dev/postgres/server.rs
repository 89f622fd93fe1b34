//! The server's process, and the watchdog that ends it with us.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use bursar_jobs::base::clock;
use sqlx::{Connection, PgConnection};

use super::{PostgresError, account::Account, at, binaries::Binaries};

/// Recovery after a crash comes before the first answer.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// A fast shutdown ends connections and writes a checkpoint.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const TAIL_LINES: usize = 20;

/// Runs the server and waits for the end of its own standard input, a pipe that we hold and never write to. However we die, the
/// pipe closes, and the server is told to shut down fast: again and again, for it may be too young to listen.
/// `$1`, where it is not empty, is a folder to remove at the end; the rest is the server's command.
const WATCHDOG: &str = r#"
folder=$1; shift
exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ read -r _ <&3; while kill -INT "$server" && sleep 1; do :; done; } 2>/dev/null & watch=$!
wait "$server"; code=$?
kill "$watch"
[ -z "$folder" ] || rm -rf -- "$folder"
exit "$code"
"#;

/// A server under its watchdog.
#[derive(Debug)]
pub(super) struct Server {
    watchdog: Child,
    log: PathBuf,
}

impl Server {
    pub(super) fn spawn(
        account: &Account,
        binaries: &Binaries,
        data: &Path,
        socket: &Path,
        folder: &Path,
        temporary: bool,
    ) -> Result<Self, PostgresError> {
        let log = folder.join("log");
        let out = File::create(&log).map_err(at(&log))?;
        let err = out.try_clone().map_err(at(&log))?;
        let mut command = account.command("/bin/sh");
        command.args(["-c", WATCHDOG, "bursar-postgres"]);
        command.arg(if temporary { folder.as_os_str() } else { "".as_ref() });
        command.arg(binaries.folder.join("postgres")).arg("-D").arg(data).arg("-k").arg(socket);
        command.args(["-p", "5432", "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"]);
        command.args(["-c", "fsync=on", "-c", "max_connections=200"]);
        // Its own process group: Ctrl-C is for us alone, who let web and worker finish before the database goes.
        command.stdin(Stdio::piped()).stdout(out).stderr(err).process_group(0);
        let watchdog = command.spawn().map_err(|source| PostgresError::Run { program: "/bin/sh".into(), source })?;
        Ok(Self { watchdog, log })
    }

    /// Waits until it takes connections.
    pub(super) async fn ready(&mut self, url: &str) -> Result<(), PostgresError> {
        let begun = clock::monotonic();
        loop {
            let why = match tokio::time::timeout(READY_WITHIN, PgConnection::connect(url)).await {
                Ok(Ok(connection)) => {
                    // It answered, which was the question.
                    drop(connection.close().await);
                    return Ok(());
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it accepts connections and does not answer".to_owned(),
            };
            if let Ok(Some(status)) = self.watchdog.try_wait() {
                return Err(self.not_ready(format!("it ended at once ({status})")));
            }
            if begun.elapsed() > READY_WITHIN {
                return Err(self.not_ready(format!("no answer within {} s ({why})", READY_WITHIN.as_secs())));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Closes the pipe, which is the word to stop.
    pub(super) fn close(&mut self) {
        drop(self.watchdog.stdin.take());
    }

    /// Waits for its end; `false` where that takes too long.
    pub(super) async fn ended(&mut self) -> bool {
        let begun = clock::monotonic();
        while begun.elapsed() < ENDED_WITHIN {
            if !matches!(self.watchdog.try_wait(), Ok(None)) {
                return true;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        false
    }

    fn not_ready(&self, why: String) -> PostgresError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        PostgresError::NotReady { why, log: self.log.clone(), tail }
    }
}
