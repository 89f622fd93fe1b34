//! A private PostgreSQL: found or fetched, started beside us, stopped with us. `bursar dev` and the tests run it.
//!
//! It listens on a unix socket in its own folder alone, so no port can be taken. It does not outlive its owner, however the
//! owner dies (see [`server`]), and it starts again over whatever a crash left behind (see [`leftover`]).

mod account;
mod binaries;
mod download;
mod leftover;
mod server;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use account::Account;
pub use account::default_folder;
use binaries::Binaries;
use server::Server;

/// Where and how to run it.
#[derive(Clone, Copy)]
pub struct StartOptions<'a> {
    /// The folder that holds the data, the socket, the log and the lock. Made where it is missing.
    pub folder: &'a Path,
    /// Begin with an empty cluster, whatever the folder holds.
    pub fresh: bool,
    /// Remove the folder once the server has ended: for tests.
    pub temporary: bool,
    /// Hears one short line for each step that takes long.
    pub progress: &'a (dyn Fn(&str) + Send + Sync),
}

/// A running server. Dropping it stops the server without waiting; [`Postgres::stop`] waits.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    socket: PathBuf,
    data: PathBuf,
    binaries: Binaries,
    /// Held as long as the server is ours.
    _lock: File,
}

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Another process owns the folder.
    #[error("a PostgreSQL is in use in {}: another `bursar dev` runs here. Stop it first, or set DATABASE_URL to a server of your own", .0.display())]
    Busy(PathBuf),
    /// Nothing suitable is installed, and nothing could be fetched.
    #[error(
        "no PostgreSQL {} or newer with the hstore extension was found, and the download failed ({source}). Install it (Debian: `apt install postgresql`, macOS: `brew install postgresql@17`), or set DATABASE_URL. Looked at: {looked}",
        binaries::OLDEST
    )]
    NotFound {
        /// Each place, and what was wrong with it.
        looked: String,
        /// Why the download failed.
        source: Box<download::DownloadError>,
    },
    /// The data was made by a version that is not here.
    #[error("the data in {} was made by PostgreSQL {made}, which was not found. Install that version, or start with --fresh to begin with empty data. Looked at: {looked}", folder.display())]
    OtherVersion {
        /// The cluster's folder.
        folder: PathBuf,
        /// The version that made it.
        made: u32,
        /// Each place, and what was there.
        looked: String,
    },
    /// A folder could not be made or used.
    #[error("the folder {} cannot be used: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// root found no other user to run the server as.
    #[error(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to run it as. Make one, or set DATABASE_URL"
    )]
    NoUser,
    /// A program could not be started.
    #[error("{} could not be run: {source}. Set DATABASE_URL to use a server of your own", program.display())]
    Run {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// initdb said no.
    #[error("initdb failed:\n{0}")]
    Initdb(String),
    /// A server that runs on the same data does not go away.
    #[error("a previous PostgreSQL still runs on this data and does not stop (pid {0}): end it by hand")]
    Leftover(String),
    /// It started and is not ready, or ended at once.
    #[error("PostgreSQL did not become ready: {why}. The end of its log, {}:\n{tail}", log.display())]
    NotReady {
        /// What was seen last.
        why: String,
        /// The log's path.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
}

impl Postgres {
    /// Starts it, making the cluster first where there is none, and waits until it answers.
    pub async fn start(options: &StartOptions<'_>) -> Result<Self, PostgresError> {
        let account = Account::of_server()?;
        let folder = account.private_folder(options.folder)?;
        let lock = lock(&folder)?;
        let data = folder.join("data");
        if leftover::stop(&data).await? {
            (options.progress)("stopped the server that a previous run left behind");
        }
        if options.fresh {
            remove(&data)?;
        }
        let socket = account.socket_folder(&folder)?;
        leftover::remove_stale_files(&data, &socket)?;

        let binaries = binaries::find(&account, version_of(&data), &data, options.progress).await?;
        if version_of(&data).is_none() {
            initdb(&account, &binaries, &data).await?;
        }
        let server = Server::spawn(&account, &binaries, &data, &socket, &folder, options.temporary)?;
        let mut postgres = Self { server, socket, data, binaries, _lock: lock };
        let url = postgres.url("postgres");
        postgres.server.ready(&url).await?;
        Ok(postgres)
    }

    /// The URL of a database in it, as sqlx and psql both read it. Its user is the cluster's superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{}?host={}", escape(database), escape(&self.socket.to_string_lossy()))
    }

    /// Its version, as it says itself: `15.18`.
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// Where its programs are.
    pub fn programs(&self) -> &Path {
        &self.binaries.folder
    }

    /// Stops it in good order, and by force where that takes too long.
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        self.server.close();
        if !self.server.ended().await {
            leftover::stop(&self.data).await?;
        }
        account::leave(&self.socket);
        Ok(())
    }
}

/// Removes a folder whose owner is gone, stopping what it left running; leaves alone one that is in use.
pub async fn remove_abandoned(folder: &Path) -> Result<(), PostgresError> {
    let _lock = lock(folder)?;
    leftover::stop(&folder.join("data")).await?;
    remove(folder)
}

/// One owner a folder, released by the system however the owner ends.
fn lock(folder: &Path) -> Result<File, PostgresError> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(PostgresError::Busy(folder.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(PostgresError::Folder { path, source }),
    }
}

/// The major version that made the data; `None` where there is none.
fn version_of(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Makes a cluster. It gets its name only when it is whole, so that a kill in the middle leaves none.
async fn initdb(account: &Account, binaries: &Binaries, data: &Path) -> Result<(), PostgresError> {
    let unfinished = data.with_extension("unfinished");
    remove(&unfinished)?;
    let program = binaries.folder.join("initdb");
    let mut command = tokio::process::Command::from(account.command(&program));
    command.arg("-D").arg(&unfinished).args(["-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"]);
    let output = command.output().await.map_err(|source| PostgresError::Run { program, source })?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(PostgresError::Initdb(String::from_utf8_lossy(&said).trim().to_owned()));
    }
    // A folder without PG_VERSION is no cluster.
    remove(data)?;
    fs::rename(&unfinished, data).map_err(at(data))
}

fn remove(path: &Path) -> Result<(), PostgresError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PostgresError {
    let path = path.to_owned();
    move |source| PostgresError::Folder { path, source }
}

/// Percent-encodes for a URL's path or query; `/` stays, as both sqlx and libpq take it.
fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |done, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            done + char::from(byte).encode_utf8(&mut [0; 4])
        } else {
            format!("{done}%{byte:02X}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn a_path_with_any_bytes_survives_a_url() {
        assert_eq!(escape("/tmp/a b+c%d&é"), "/tmp/a%20b%2Bc%25d%26%C3%A9");
    }
}
