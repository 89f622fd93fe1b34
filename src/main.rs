//! The `bursar` command: wiring only.

use std::{error::Error, io::ErrorKind, path::Path, process::ExitCode};

use bursar::{
    boot,
    cli::{self, Cli, Command, DevAction, SandboxAction},
    config::Settings,
    dev, doctor,
    exit::Exit,
    manual, operate, sandbox, telemetry,
};
use clap::Parser;
use sqlx::{Connection, PgConnection};

#[tokio::main]
async fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Operate(command) => operate(command).await,
        Command::Completions { shell } => ended(manual::completions(shell)),
        Command::Man { folder } => ended(manual::man(folder.as_deref())),
        Command::Migrate => ended(boot::migrate().await),
        Command::Web => ended(boot::web().await),
        Command::Api => ended(boot::api().await),
        Command::Worker => ended(boot::worker().await),
        Command::Sandbox(asked) => match asked.action {
            Some(SandboxAction::Advance { by, url, json }) => {
                ended(dev::advance::run(dev::advance::Options { by, url, json }).await)
            }
            None => ended(simulate(asked).await),
        },
        Command::Doctor(asked) => examine(asked).await,
        Command::Dev(asked) => match asked.action {
            Some(DevAction::Send { file, new }) => ended(dev::send::run(&file, new).await),
            None => ended(Box::pin(develop(dev::Options { fresh: asked.fresh })).await),
        },
    };
    exit.into()
}

async fn develop(options: dev::Options) -> Result<(), Box<dyn Error>> {
    let settings = Settings::load(&[])?;
    let destination = settings.traces()?;
    telemetry::init(&settings.log()?)?;
    telemetry::traces::start(destination, "dev");
    let ended = dev::run(options).await;
    telemetry::traces::finish().await;
    Ok(ended?)
}

async fn simulate(asked: cli::Sandbox) -> Result<(), Box<dyn Error>> {
    telemetry::init(&Settings::load(&[])?.log()?)?;
    let cli::Sandbox { port, bind, public, chaos, seed, action: _ } = asked;
    let options = sandbox::Options { address: (bind, port).into(), public, chaos, seed, ..Default::default() };
    Ok(sandbox::run_until_signal(options).await?)
}

/// Looks at the settings of this folder, or at those of the `bursar dev` that runs in it.
async fn examine(asked: cli::Doctor) -> Exit {
    let instance = dev::running_instance(Path::new("."));
    let settings = Settings::load(&instance.as_ref().map(dev::Instance::settings).unwrap_or_default());
    let maildir = instance.as_ref().map_or_else(|| boot::MAILDIR.into(), |_| dev::Instance::maildir());
    let url = asked.url.or_else(|| instance.map(|instance| instance.url));
    let exit: Exit = match doctor::run(settings, &doctor::Options { url, json: asked.json, maildir }).await {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            operate::report(&error, None);
            Exit::Failed
        }
    };
    // A name that no server resolves in time would be waited for.
    std::process::exit(exit as i32)
}

async fn operate(command: operate::Command) -> Exit {
    let done = async {
        let mut db = PgConnection::connect(&database_url()?).await?;
        let done = operate::run(command, &mut db).await;
        if done.is_err() {
            // A transaction that was given up is rolled back before we are gone, so that a claim does not pass over what it locked.
            db.ping().await.unwrap_or_default();
        }
        done
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

/// The database that is named, else that of the `bursar dev` which runs in this folder.
fn database_url() -> Result<String, operate::Failure> {
    let settings = Settings::load(&[])?;
    if !settings.database_is_set()
        && let Some(instance) = dev::running_instance(Path::new("."))
    {
        return Ok(instance.database_url);
    }
    Ok(settings.database_url()?.expose().to_owned())
}

/// How a process ended.
fn ended<E: Into<Box<dyn Error>>>(result: Result<(), E>) -> Exit {
    match result.map_err(Into::into) {
        Ok(()) => Exit::Done,
        Err(error) => {
            operate::report(&*error, None);
            Exit::Failed
        }
    }
}
