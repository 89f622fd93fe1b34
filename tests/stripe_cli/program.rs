//! The Stripe CLI itself, out of the npm package that carries it, in a folder below `target`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tokio::time::timeout;

use crate::support::{Child, program::clear_environment};

/// For one call of it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A version of it, and where it keeps its settings.
pub struct Cli {
    pub version: &'static str,
    program: PathBuf,
    home: PathBuf,
}

impl Cli {
    /// Fetches it, unless an earlier run did. Says why it is not to be had.
    pub fn install(version: &'static str, home: &Path) -> Result<Self, String> {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = cache.join(format!("stripe-cli-{version}"));
        if program(&folder).is_none() {
            // Whole or not at all, whoever else fetches it at the same time.
            let begun = cache.join(format!("stripe-cli-{version}.{}", std::process::id()));
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]);
            npm.args(["--fetch-retries=1", "--fetch-timeout=30000", "--prefix"]).arg(&begun);
            npm.arg(format!("@stripe/cli@{version}")).stdin(Stdio::null());
            let said = npm.output().map_err(|error| format!("npm does not run: {error}"))?;
            if !said.status.success() {
                drop(fs::remove_dir_all(&begun));
                return Err(format!("npm: {}", String::from_utf8_lossy(&said.stderr)));
            }
            if fs::rename(&begun, &folder).is_err() {
                drop(fs::remove_dir_all(&begun));
            }
        }
        let program = program(&folder).ok_or("the package carries no program for this machine")?;
        Ok(Self { version, program, home: home.to_owned() })
    }

    /// With nothing of our environment; whatever it wants of the internet fails at once.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        clear_environment(&mut command).args(args).current_dir(&self.home).stdin(Stdio::null());
        command.env("HOME", &self.home).env("XDG_CONFIG_HOME", &self.home);
        command.env("STRIPE_CLI_TELEMETRY_OPTOUT", "1").env("STRIPE_NO_AUTO_UPDATE", "1");
        // Nobody listens on port 9; what is asked of this machine goes past a proxy.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
        command
    }

    /// Runs it to its end.
    pub async fn run(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.command(args));
        let ended = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        ended.unwrap_or_else(|_| panic!("{} {args:?}: it does not end", self.version)).unwrap()
    }

    /// Runs it on; what it says goes to a file.
    pub fn start(&self, args: &[&str], said: &Path) -> Child {
        let file = File::create(said).unwrap();
        let errors = file.try_clone().unwrap();
        Child::spawn(self.command(args).stdout(file).stderr(errors))
    }
}

fn program(folder: &Path) -> Option<PathBuf> {
    let packages = fs::read_dir(folder.join("node_modules/@stripe")).ok()?.filter_map(Result::ok);
    packages.map(|package| package.path().join("bin/stripe")).find(|program| program.is_file())
}
