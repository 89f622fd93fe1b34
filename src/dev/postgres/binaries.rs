//! Which PostgreSQL to run: an installed one where it will do, else one that is downloaded.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{PostgresError, account::Account, download};

/// The oldest version that is supported upstream.
pub(super) const OLDEST: u32 = 14;
/// What the migrations ask for beyond the core.
const EXTENSIONS: [&str; 2] = ["hstore", "pgcrypto"];

/// A PostgreSQL that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    /// Holds `initdb` and `postgres`.
    pub(super) folder: PathBuf,
    /// For example `15.18`.
    pub(super) version: String,
    /// For example 15: data of one major version is unreadable to another.
    pub(super) major: u32,
}

/// Finds one, of the major version that made the data where there is data, and downloads one where there is none.
pub(super) async fn find(
    account: &Account,
    made: Option<u32>,
    data: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Binaries, PostgresError> {
    let cache = download::cache();
    let mut looked = String::new();
    let mut candidates = from_path();
    candidates.extend(from_usual_places());
    candidates.extend(versions(&cache, "postgresql-", "bin"));
    for folder in candidates {
        let verdict = match check(account, &folder) {
            Ok(binaries) if made.is_none_or(|major| major == binaries.major) => return Ok(binaries),
            Ok(binaries) => format!("version {}", binaries.version),
            Err(reason) => reason,
        };
        let separator = if looked.is_empty() { "" } else { "; " };
        write!(looked, "{separator}{} ({verdict})", folder.display()).unwrap_or_default();
    }
    if looked.is_empty() {
        looked.push_str("PATH, pg_config and the usual places, with no result");
    }
    // A download could bring the right version too, but a newer one beside old data must not look like lost data.
    if let Some(made) = made.filter(|made| *made != download::MAJOR) {
        return Err(PostgresError::OtherVersion { folder: data.to_owned(), made, looked });
    }
    let source = match download::download(&cache, progress).await {
        Ok(folder) => match check(account, &folder) {
            Ok(binaries) => return Ok(binaries),
            Err(reason) => download::DownloadError::Unusable { folder, reason },
        },
        Err(error) => error,
    };
    Err(PostgresError::NotFound { looked, source: Box::new(source) })
}

/// What the PATH leads to, and what `pg_config` on it says. The shell does the looking, as it would for the user.
fn from_path() -> Vec<PathBuf> {
    let script = "command -v postgres; command -v initdb; pg_config --bindir";
    let found = Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut folders = Vec::new();
    for line in found.lines() {
        // A link in the PATH leads to the folder that has the rest of it.
        let Ok(path) = Path::new(line).canonicalize() else { continue };
        let folder = if path.is_dir() { path } else { path.parent().map(PathBuf::from).unwrap_or_default() };
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// Where packages put it without a word to the PATH; the newest of each place first.
fn from_usual_places() -> Vec<PathBuf> {
    [
        ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
        ("/usr", "pgsql-", "bin"),                                   // PostgreSQL's own RPMs
        ("/opt/homebrew/opt", "postgresql@", "bin"),                 // Homebrew
        ("/usr/local/opt", "postgresql@", "bin"),                    // Homebrew on Intel
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
    ]
    .into_iter()
    .flat_map(|(parent, prefix, tail)| versions(Path::new(parent), prefix, tail))
    .collect()
}

/// The folders `parent/prefix<version>/tail`, newest version first.
pub(super) fn versions(parent: &Path, prefix: &str, tail: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
            Some((version, entry.path().join(tail)))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Whether this folder will do: run as the server's user, who may not be allowed where we are.
pub(super) fn check(account: &Account, folder: &Path) -> Result<Binaries, String> {
    if !folder.join("initdb").is_file() {
        return Err("no initdb".to_owned());
    }
    let said =
        account.command(folder.join("postgres")).arg("--version").output().map_err(|e| format!("postgres: {e}"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let (version, major) = version_in(&said).ok_or("postgres does not tell its version")?;
    if major < OLDEST {
        return Err(format!("version {version} is too old"));
    }
    let shares = shares(account, folder, major);
    for extension in EXTENSIONS {
        if !shares.iter().any(|share| share.join("extension").join(format!("{extension}.control")).is_file()) {
            return Err(format!("version {version} without the extension {extension}"));
        }
    }
    Ok(Binaries { folder: folder.to_owned(), version, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` as `15.18` and 15; a beta is `18beta1` and 18.
fn version_in(said: &str) -> Option<(String, u32)> {
    let version = said.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((version.to_owned(), digits.parse().ok()?))
}

/// Where its extensions may be: as its own `pg_config` says, else by the layouts that packages use.
fn shares(account: &Account, folder: &Path, major: u32) -> Vec<PathBuf> {
    let said = account.command(folder.join("pg_config")).arg("--sharedir").stderr(Stdio::null()).output();
    let mut shares: Vec<PathBuf> = said
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        .into_iter()
        .collect();
    let share = folder.join("../share");
    shares.push(share.join("postgresql"));
    shares.push(share.join(format!("postgresql@{major}")));
    shares.push(share.join(format!("postgresql/{major}")));
    shares.push(share);
    if folder.starts_with("/usr/lib/postgresql") {
        shares.push(PathBuf::from(format!("/usr/share/postgresql/{major}")));
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let parent = std::env::temp_dir().join(format!("bursar-versions-{}", std::process::id()));
        for name in ["postgresql@9", "postgresql@17", "postgresql@16.4", "postgresql@latest", "mysql@8"] {
            fs::create_dir_all(parent.join(name)).unwrap();
        }
        let found = versions(&parent, "postgresql@", "bin");
        fs::remove_dir_all(&parent).unwrap();
        let names = ["postgresql@17/bin", "postgresql@16.4/bin", "postgresql@9/bin"].map(|name| parent.join(name));
        assert_eq!(found, names);
    }

    #[test]
    fn a_version_is_read_from_what_postgres_says() {
        for (said, version, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "15.18", 15),
            ("postgres (PostgreSQL) 17.2\n", "17.2", 17),
            ("postgres (PostgreSQL) 18beta1\n", "18beta1", 18),
        ] {
            assert_eq!(version_in(said), Some((version.to_owned(), major)));
        }
        assert_eq!(version_in("permission denied"), None);
    }
}
