//! The built program as a process of its own, for what only a process can show: signals, crashes, exit codes.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// `bursar` with these arguments, nothing of our environment, and a folder that has no `.env` in it or above it.
pub fn bursar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    clear_environment(&mut command).args(args).current_dir("/").stdin(Stdio::null());
    command
}

/// Takes our environment from a program, all but where programs are and which date it is: see `.ci/dates`.
pub fn clear_environment(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    if std::env::var_os("CLOCK_AHEAD").is_some() {
        let of_the_date = ["PATH", "TZ", "LD_PRELOAD", "CLOCK_AHEAD"];
        command.envs(std::env::vars().filter(|(name, _)| of_the_date.contains(&name.as_str())));
    }
    command
}

/// The probe, whose jobs crash on demand (`tests/probe.rs`). Cargo builds it with the tests.
pub fn probe_program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_bursar")).with_file_name("examples/probe");
    assert!(program.exists(), "{} is missing: run `cargo test` without a target filter", program.display());
    program
}

/// A process that ends with its test, by its id and at once; a test that wants more says so itself.
pub struct Child(Process);

impl Child {
    /// Starts it.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().expect("a pid fits"));
        nix::sys::signal::kill(pid, signal).expect("the process is there to be signalled");
    }
}

impl Deref for Child {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Child {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A folder that goes with its test.
pub struct Scratch(PathBuf);

/// Makes an empty one, with a path short enough for a socket.
pub fn scratch() -> Scratch {
    scratch_in("/tmp")
}

/// The same in another folder than `/tmp`.
pub fn scratch_in(parent: &str) -> Scratch {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("bursar-scratch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(parent).join(name);
    std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{parent} can be written to: {error}"));
    Scratch(path)
}

impl Deref for Scratch {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
