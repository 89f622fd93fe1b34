//! The `bursar` command: wiring only.

use std::{error::Error, path::Path, process::ExitCode, sync::Arc};

use bursar::{
    cli::{Cli, Command, Dev, DevAction},
    config::Settings,
    dev,
    exit::Exit,
    migrate,
    operate::{self, Failure},
    queue,
    stop::{self, Stop},
    telemetry, web,
};
use clap::Parser;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Web => ended(run_web().await),
        Command::Worker => ended(run_worker().await),
        Command::Migrate => ended(run_migrate().await),
        Command::Dev(command) => ended(run_dev(command).await),
        Command::Operate(command) => run_operate(command).await,
    };
    exit.into()
}

async fn run_web() -> Result<(), Box<dyn Error>> {
    let settings = started()?;
    // Every setting is judged before anything is done with one.
    let (web, pool) = (settings.web()?, pool(&settings)?);
    let listener = TcpListener::bind(web.address)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}. Set PORT to a free one", web.address))?;
    until_signalled(async |stop| web::run(web, pool, listener, stop).await).await
}

async fn run_worker() -> Result<(), Box<dyn Error>> {
    let settings = started()?;
    let (terms, pool) = (Arc::new(settings.terms()?), pool(&settings)?);
    let listen_url = Some(settings.listen_url()?.expose().to_owned());
    let options = queue::Options { listen_url, ..queue::Options::default() };
    until_signalled(async |stop| queue::run(pool, options, terms, stop).await).await
}

async fn run_migrate() -> Result<(), Box<dyn Error>> {
    let pool = PgPoolOptions::new().max_connections(1).connect_with(database_url()?.parse()?).await?;
    migrate::migrate(&pool).await?;
    Ok(())
}

async fn run_dev(command: Dev) -> Result<(), Box<dyn Error>> {
    match command.action {
        Some(DevAction::Send { file, new }) => dev::send::run(&file, new).await?,
        None => {
            started()?;
            dev::run(dev::Options { fresh: command.fresh }).await?;
        }
    }
    Ok(())
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

/// Reads the settings of a process, and starts its logs.
fn started() -> Result<Settings, Box<dyn Error>> {
    let settings = Settings::load(&[])?;
    telemetry::init(&settings.log()?)?;
    Ok(settings)
}

/// A pool that connects when it is first used: a process starts, and says that it is not ready, while the database is away.
fn pool(settings: &Settings) -> Result<PgPool, Box<dyn Error>> {
    let options = PgPoolOptions::new().max_connections(settings.database_max_connections()?);
    Ok(options.connect_lazy(settings.database_url()?.expose())?)
}

/// The database that is named, else that of the `bursar dev` which runs in this folder.
fn database_url() -> Result<String, Failure> {
    let settings = Settings::load(&[])?;
    if !settings.database_is_set()
        && let Some(instance) = dev::running_instance(Path::new("."))
    {
        return Ok(instance.database_url);
    }
    Ok(settings.database_url()?.expose().to_owned())
}

/// Runs a process until it ends by itself, or hears SIGTERM or Ctrl-C and has ended in good order.
async fn until_signalled<E: Error + 'static>(
    run: impl AsyncFnOnce(Stop) -> Result<(), E>,
) -> Result<(), Box<dyn Error>> {
    let (stopper, stop) = stop::channel();
    let mut running = std::pin::pin!(run(stop));
    tokio::select! {
        ended = &mut running => Ok(ended?),
        heard = stop::signalled() => {
            heard?;
            stopper.stop();
            Ok(running.await?)
        }
    }
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
