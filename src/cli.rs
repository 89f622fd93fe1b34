//! The command line, as it is declared. What a command does is in its room.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{manual, operate, sandbox};

/// A background job runner with a persistent queue for reliable Stripe side effects.
#[derive(Debug, Parser)]
#[command(
    name = "bursar",
    version,
    after_help = "Exit codes: 0 done, 1 it failed, 2 wrong use, 3 not found.\n\n\
                  Example:\n  bursar dev                          everything on this machine, to try it\n  \
                  bursar jobs list --state dead       what waits for an operator"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive events: Stripe's webhooks and the application's own.
    #[command(after_help = "Example:\n  PORT=3000 bursar web")]
    Web,
    /// Run jobs.
    #[command(after_help = "Example:\n  bursar worker")]
    Worker,
    /// Sell credits, spend them, and say what a user may do: for the application, by a token; and the operators' console, at `/`.
    #[command(after_help = "Example:\n  API_TOKEN=$(openssl rand -hex 32) bursar api")]
    Api,
    /// Bring the database to this version's schema.
    #[command(after_help = "Example:\n  DATABASE_URL=postgres://localhost/shop bursar migrate")]
    Migrate,
    /// Look at everything that must be right before money depends on it; nothing is changed or sent.
    #[command(
        after_help = "Each check is ok, warn, fail or skip, with a remedy; the exit code is 1 where one fails.\n\n\
                      Example:\n  bursar doctor --url https://hooks.acme.example\n  bursar doctor --json"
    )]
    Doctor(Doctor),
    /// Run web, api and worker here, over a database of their own where DATABASE_URL is not set.
    #[command(after_help = "Example:\n  bursar dev\n  bursar dev send fixtures/checkout.session.completed.json --new")]
    Dev(Dev),
    /// Run a local Stripe, to build and test against: it moves no money, and fails on request.
    #[command(
        after_help = "Example:\n  bursar sandbox --port 12111\n  curl http://127.0.0.1:12111/v1/balance -u sk_test_sandbox:\n  \
                      bursar sandbox --chaos 0.3 --seed 7"
    )]
    Sandbox(Sandbox),
    /// Print what a shell needs to complete commands, options and words.
    #[command(after_help = "Example:\n  bursar completions bash > /etc/bash_completion.d/bursar\n  \
                      bursar completions zsh > ~/.zfunc/_bursar\n  \
                      bursar completions fish > ~/.config/fish/completions/bursar.fish")]
    Completions {
        /// For which shell.
        shell: manual::For,
    },
    /// Print the manual page, or write one for each command into a folder.
    #[command(after_help = "Example:\n  bursar man | man -l -\n  bursar man /usr/local/share/man/man1")]
    Man {
        /// The folder; made where it is not there.
        folder: Option<PathBuf>,
    },
    /// The commands of an operator.
    #[command(flatten)]
    Operate(operate::Command),
}

/// What `bursar sandbox` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Sandbox {
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = sandbox::PORT)]
    pub port: u16,
    /// The address; one that others can reach needs --public too.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Others than this machine may reach it: whoever does can do anything to it.
    #[arg(long)]
    pub public: bool,
    /// The probability with which each request meets a fault, between 0 and 1.
    #[arg(long, value_name = "PROBABILITY")]
    pub chaos: Option<f64>,
    /// What ids and chaos derive from: the same seed and the same requests give the same run.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Something else than running it.
    #[command(subcommand)]
    pub action: Option<SandboxAction>,
}

/// What else `bursar sandbox` does.
#[derive(Debug, Subcommand)]
pub enum SandboxAction {
    /// Let time pass in a running sandbox, and for the jobs of the `bursar dev` of this folder (or of DATABASE_URL).
    #[command(
        after_help = "Example:\n  bursar sandbox advance 31d     a month of renewals, refills and retries, in seconds\n\n\
                      Only a database that has worked with a sandbox, and with no other Stripe ever, can be moved."
    )]
    Advance {
        /// How long: 90s, 15m, 2h, 31d, 4w.
        #[arg(value_parser = operate::duration)]
        by: Duration,
        /// The sandbox, where it is not the one of this folder's `bursar dev`.
        #[arg(long)]
        url: Option<String>,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

/// What `bursar doctor` takes.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Where web is reached from outside, in place of `[web] public_url`.
    #[arg(long)]
    pub url: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// What `bursar dev` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Dev {
    /// Wipe the private database first.
    #[arg(long)]
    pub fresh: bool,
    /// Something else than running it.
    #[command(subcommand)]
    pub action: Option<DevAction>,
}

/// What else `bursar dev` does.
#[derive(Debug, Subcommand)]
pub enum DevAction {
    /// Sign an event from a file and send it to the running `bursar dev`.
    #[command(after_help = "Example:\n  bursar dev send fixtures/invoice.paid.json --new")]
    Send {
        /// The event's body, as JSON.
        file: PathBuf,
        /// Give the event and its object new ids, so that it is not a duplicate.
        #[arg(long)]
        new: bool,
    },
}
