//! Whom the server runs as, and which folders that user may reach. PostgreSQL refuses to run as root.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{Uid, User};

use super::{PostgresError, at};

/// A socket's path has room for 104 bytes on some systems, 108 on others.
const LONGEST_SOCKET: usize = 100;
/// What PostgreSQL adds to the folder of its socket.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// The user that owns the data and runs the server: we ourselves, or for root another.
#[derive(Debug)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
    /// Set where we are root and must become this user.
    switch: bool,
}

impl Account {
    pub(super) fn of_server() -> Result<Self, PostgresError> {
        if !Uid::effective().is_root() {
            return Ok(Self {
                uid: Uid::effective().as_raw(),
                gid: nix::unistd::Gid::effective().as_raw(),
                switch: false,
            });
        }
        let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
        let user = user.ok_or(PostgresError::NoUser)?;
        Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), switch: true })
    }

    /// A program to be run as this user: away from our folder, which it may not be allowed to read, and without our environment,
    /// which holds secrets.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null());
        if self.switch {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Makes a folder that is this user's alone, or takes one that is; nobody else's, for its path may lie in a shared place.
    pub(super) fn private_folder(&self, path: &Path) -> Result<PathBuf, PostgresError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            fs::create_dir_all(parent).map_err(at(parent))?;
            if self.switch {
                // Whatever our umask: the server's user has to come through.
                fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).map_err(at(parent))?;
            }
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(path)(error)),
            _ => {}
        }
        let found = fs::symlink_metadata(path).map_err(at(path))?;
        if !found.is_dir() || ![self.uid, Uid::effective().as_raw()].contains(&found.uid()) {
            let taken = io::Error::new(io::ErrorKind::AlreadyExists, "it is someone else's");
            return Err(at(path)(taken));
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(at(path))?;
        if self.switch {
            chown(path, Some(self.uid), Some(self.gid)).map_err(at(path))?;
        }
        path.canonicalize().map_err(at(path))
    }

    /// The folder of the server's socket: inside its own, or under /tmp where that path would be too long.
    pub(super) fn socket_folder(&self, folder: &Path) -> Result<PathBuf, PostgresError> {
        let inside = folder.join("socket");
        if inside.as_os_str().len() + SOCKET_NAME.len() <= LONGEST_SOCKET {
            return self.private_folder(&inside);
        }
        self.private_folder(&Path::new("/tmp").join(format!("bursar-{}", short_hash(folder))))
    }
}

/// Removes a socket's folder that lies apart; one that is not empty, or is gone already, is as good.
pub(super) fn leave(socket: &Path) {
    fs::remove_dir(socket).unwrap_or_default();
}

/// Where the data of `bursar dev` in a folder is kept: in the folder, or for root where the server's user can reach it.
pub fn default_folder(dir: &Path) -> PathBuf {
    if !Uid::effective().is_root() {
        return dir.join(".bursar/postgres");
    }
    let name = format!("bursar/dev-{}", short_hash(&dir.canonicalize().unwrap_or_else(|_| dir.to_owned())));
    let writable = nix::unistd::access("/var/lib", nix::unistd::AccessFlags::W_OK).is_ok();
    Path::new(if writable { "/var/lib" } else { "/var/tmp" }).join(name)
}

/// Eight hexadecimal digits that tell one path from another, the same for ever.
fn short_hash(path: &Path) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, path.as_os_str().as_bytes());
    digest.as_ref().iter().take(4).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_hash_never_changes() {
        // sha256 of "/srv/shop"; another value would lose sight of data that was kept.
        assert_eq!(short_hash(Path::new("/srv/shop")), "e7c7ea0b");
    }

    #[test]
    fn a_folder_of_someone_else_is_refused() {
        let account = Account { uid: 4_000_000, gid: 4_000_000, switch: false };
        let link = std::env::temp_dir().join(format!("bursar-link-{}", std::process::id()));
        std::os::unix::fs::symlink("/", &link).unwrap();
        let refused = account.private_folder(&link).unwrap_err();
        fs::remove_file(&link).unwrap();
        assert!(refused.to_string().contains("someone else's"), "{refused}");
    }
}
