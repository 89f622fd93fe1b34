//! The `bursar` command: wiring only.

use std::{error::Error, process::ExitCode};

use bursar::{
    cli::{Cli, Command},
    exit::Exit,
    migrate, operate,
};
use clap::Parser;
use sqlx::{Connection, PgConnection, PgPool};

#[tokio::main]
async fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Operate(command) => run_operate(command).await,
        Command::Migrate => ended(run_migrate().await),
        Command::Web => not_yet("web"),
        Command::Worker => not_yet("worker"),
        Command::Dev(_) => not_yet("dev"),
    };
    exit.into()
}

async fn run_operate(command: operate::Command) -> Exit {
    let done = async {
        let mut db = PgConnection::connect(&database_url()?).await?;
        operate::run(command, &mut db).await
    };
    match done.await {
        Ok(()) => Exit::Done,
        Err(failure) => {
            if !failure.is_closed_pipe() {
                operate::report(&failure, Some(failure.hint()));
            }
            failure.exit()
        }
    }
}

async fn run_migrate() -> Result<(), Box<dyn Error>> {
    let pool = PgPool::connect(&database_url()?).await?;
    migrate::migrate(&pool).await?;
    Ok(())
}

/// How a process ended.
fn ended(result: Result<(), Box<dyn Error>>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            operate::report(&*error, None);
            Exit::Failed
        }
    }
}

/// The database's address.
#[expect(clippy::disallowed_methods, reason = "until the settings are read by bursar::config")]
fn database_url() -> Result<String, operate::Failure> {
    std::env::var("DATABASE_URL").map_err(|_| {
        operate::Failure::refused(
            "DATABASE_URL is not set",
            "set it, like postgres://user:password@localhost:5432/bursar",
        )
    })
}

/// A process that has no room yet.
fn not_yet(name: &str) -> Exit {
    operate::report(&std::io::Error::other(format!("{name} is not wired yet")), None);
    Exit::Failed
}
