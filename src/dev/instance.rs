//! Where the running `bursar dev` of a folder can be reached. Written when it is ready, removed when it stops in good order.
//!
//! The file stays locked while it runs: a file that a crash left is told from a living one, whatever became of its pid.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{DevError, STATE};

const FILE: &str = "dev.json";

/// A running `bursar dev`. It holds secrets, and has no `Debug` for that reason.
#[derive(Serialize, Deserialize)]
pub struct Instance {
    /// Where web listens: `http://127.0.0.1:3000`.
    pub url: String,
    /// Where on it Stripe's events come in.
    pub webhook_path: String,
    /// Its database.
    pub database_url: String,
    /// What its Stripe events are signed with.
    pub webhook_secret: String,
    /// What its verifications are signed with.
    pub verification_secret: String,
    /// Where api listens.
    #[serde(default)]
    pub api: String,
    /// What api wants to see.
    #[serde(default)]
    pub api_token: String,
    /// Its local Stripe, where it runs one.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// Its process.
    pub pid: u32,
}

impl Instance {
    /// What a command must be told to look at it: settings by name, below those that are set.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        let mut all = vec![
            ("DATABASE_URL", self.database_url.as_str()),
            ("STRIPE_WEBHOOK_SECRET", self.webhook_secret.as_str()),
            ("VERIFICATION_SECRET", self.verification_secret.as_str()),
            ("API_TOKEN", self.api_token.as_str()),
        ];
        all.extend(super::PRICES);
        if let Some(sandbox) = &self.sandbox {
            all.extend([("STRIPE_API_BASE", sandbox.as_str()), ("STRIPE_SECRET_KEY", crate::sandbox::KEY)]);
        }
        all
    }

    /// Where letters go, where no setting says otherwise.
    pub fn maildir() -> PathBuf {
        Path::new(STATE).join("mail")
    }
}

/// The one that runs in this folder, if one does.
pub fn running_instance(dir: &Path) -> Option<Instance> {
    let path = dir.join(STATE).join(FILE);
    let instance: Instance = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    let pid = nix::unistd::Pid::from_raw(instance.pid.try_into().ok()?);
    // A process of another user is there too.
    let lives = !matches!(nix::sys::signal::kill(pid, None), Err(nix::errno::Errno::ESRCH));
    let held = lives && matches!(File::open(&path).ok()?.try_lock_shared(), Err(TryLockError::WouldBlock));
    held.then_some(instance)
}

/// This process's claim to be the one of its folder. Dropping it removes the file.
pub(super) struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    pub(super) fn take(dir: &Path) -> Result<Self, DevError> {
        state_folder(dir)?;
        let path = dir.join(STATE).join(FILE);
        let failed = |source| DevError::State { path: path.clone(), source };
        let options = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = options.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                // What a crash left must not be read as ours while we start.
                file.set_len(0).map_err(failed)?;
                Ok(Self { file, path })
            }
            Err(TryLockError::WouldBlock) => Err(DevError::AlreadyRuns),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Says where we are, now that we are there.
    pub(super) fn publish(&mut self, instance: &Instance) -> Result<(), DevError> {
        let write = || {
            let text = serde_json::to_vec_pretty(instance)?;
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(&text)
        };
        let mut write = write;
        write().map_err(|source| DevError::State { path: self.path.clone(), source })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Left behind, it is told from a living one by its lock.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Makes the folder of our state, ours alone and out of anybody's version control.
pub(super) fn state_folder(dir: &Path) -> Result<(), DevError> {
    let folder = dir.join(STATE);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => fs::write(folder.join(".gitignore"), "*\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| DevError::State { path: folder, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance {
            sandbox: None,
            api: "http://127.0.0.1:3001".into(),
            api_token: "t".into(),
            url: "http://127.0.0.1:3000".into(),
            webhook_path: "/api/stripe/webhook".into(),
            database_url: "postgres://postgres@localhost/bursar".into(),
            webhook_secret: "whsec_a".into(),
            verification_secret: "whsec_b".into(),
            pid: std::process::id(),
        }
    }

    #[test]
    fn it_is_found_while_it_runs_and_not_after() {
        let dir = std::env::temp_dir().join(format!("bursar-instance-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        assert!(running_instance(&dir).is_none(), "nothing was written yet");

        let mut claim = Claim::take(&dir).unwrap();
        assert!(running_instance(&dir).is_none(), "it is not ready yet");
        claim.publish(&instance()).unwrap();
        assert_eq!(running_instance(&dir).unwrap().url, "http://127.0.0.1:3000");
        assert!(matches!(Claim::take(&dir), Err(DevError::AlreadyRuns)));
        drop(claim);
        assert!(running_instance(&dir).is_none(), "it stopped");

        // As a crash leaves it: the file is there, its pid is even alive, and nobody holds it.
        fs::write(dir.join(STATE).join(FILE), serde_json::to_vec(&instance()).unwrap()).unwrap();
        assert!(running_instance(&dir).is_none(), "it crashed");
        drop(Claim::take(&dir).unwrap());
        fs::remove_dir_all(&dir).unwrap();
    }
}
