//! `bursar sandbox` as a process: the local Stripe, until a signal.

use std::io;

pub use bursar_sandbox::*;

use crate::stop;

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It does not run.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Signals cannot be heard.
    #[error("signals cannot be heard: {0}")]
    Signals(#[from] io::Error),
}

/// Runs it until Ctrl-C or SIGTERM.
pub async fn run_until_signal(options: Options) -> Result<(), RunError> {
    let chaos = options.chaos;
    let sandbox = start(options).await?;
    let said = async {
        anstream::eprintln!("{}", words(&sandbox, chaos));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // First, so that signals are heard by the time it says where it is.
        biased;
        heard = stop::signalled() => heard?,
        () = said => {}
    }
    Ok(sandbox.stop().await?)
}

fn words(sandbox: &Sandbox, chaos: Option<f64>) -> String {
    let Sandbox { url, key, seed, .. } = sandbox;
    let chaos =
        chaos.map(|rate| format!("\n  chaos {rate}: for the same faults again, --chaos {rate} --seed {seed}\n"));
    format!(
        "bursar sandbox: {url} (this is not Stripe, moves no money, and forgets everything when it stops)\n\n  \
         STRIPE_API_BASE={url} STRIPE_SECRET_KEY={key} bursar worker\n  \
         curl {url}/v1/balance -u {key}:\n  \
         curl {url}/_sandbox/ledger\n  \
         curl {url}/_sandbox/faults -d '{{\"route\":\"POST /v1/transfers\",\"fault\":\"lose_answer\"}}'\n{}",
        chaos.unwrap_or_default()
    )
}
