//! Stripe's official Python SDK against the sandbox, its own webhook verification included. What it does is in `sdk.py`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use crate::sandbox::client::Client;

/// The newest that speaks the sandbox's version of the API.
const SDK: &str = "stripe==16.0.1";
/// For everything that the script does.
const PATIENCE: Duration = Duration::from_mins(2);

/// A folder with the SDK in it, or why there is none.
fn sdk() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_BIN_EXE_bursar")).with_file_name(SDK.replace("==", "-python-"));
    if folder.join("stripe/__init__.py").exists() {
        return Ok(folder);
    }
    // Installed elsewhere and moved, so that half of it is never taken for the whole.
    let half = folder.with_extension(std::process::id().to_string());
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2"];
    let installed =
        Command::new("python3").args(pip).args(["--timeout", "20", "--target"]).arg(&half).arg(SDK).output();
    let output = installed.map_err(|error| format!("python3 does not start: {error}"))?;
    if !output.status.success() {
        return Err(said(&output));
    }
    // Another test process may have been first.
    drop(std::fs::rename(&half, &folder));
    drop(std::fs::remove_dir_all(&half));
    Ok(folder)
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_sdk_is_content() {
    let folder = match tokio::task::spawn_blocking(sdk).await.unwrap() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!(
                "\n!!! SKIPPED: Stripe's Python SDK was not tried against the sandbox, for {SDK} cannot be had: {why}\n"
            );
            return;
        }
    };
    let client = Client::start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk.py");
    let mut python = tokio::process::Command::new("python3");
    python
        .args([script, &client.0.url, &client.0.key])
        .env("PYTHONPATH", folder)
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, python.output()).await.expect("the script ends").unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("ok    keys_replay_and_refuse"), "{said}");
    println!("{said}");
}
