//! The secrets of a development run: made up once, and kept, so that what was configured elsewhere with them stays right.

use std::{fs, io, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};

use super::{DevError, STATE, instance::state_folder};

/// Used where the settings name none.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets {
    pub(super) webhook_secret: String,
    pub(super) verification_secret: String,
    /// An older folder has none, and gets it now.
    #[serde(default)]
    pub(super) api_token: String,
}

/// Reads them, or makes them.
pub(super) fn kept(dir: &Path) -> Result<Secrets, DevError> {
    state_folder(dir)?;
    let path = dir.join(STATE).join("secrets.json");
    let failed = |source| DevError::State { path: path.clone(), source };
    match fs::read(&path) {
        Ok(text) => {
            let mut secrets: Secrets =
                serde_json::from_slice(&text).map_err(|source| DevError::Malformed { path: path.clone(), source })?;
            if secrets.api_token.is_empty() {
                secrets.api_token = token()?;
                let text = serde_json::to_string_pretty(&secrets).map_err(|e| failed(e.into()))?;
                fs::write(&path, text).map_err(failed)?;
            }
            Ok(secrets)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secrets = Secrets { webhook_secret: random()?, verification_secret: random()?, api_token: token()? };
            let text = serde_json::to_string_pretty(&secrets).map_err(|e| failed(e.into()))?;
            let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
            file.write_all(text.as_bytes()).map_err(failed)?;
            Ok(secrets)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Not to be taken for a webhook's secret.
fn token() -> Result<String, DevError> {
    Ok(format!("bursar_dev_{}", URL_SAFE_NO_PAD.encode(bytes()?)))
}

/// A secret of the form that Stripe and Standard Webhooks share.
fn random() -> Result<String, DevError> {
    Ok(format!("whsec_{}", STANDARD.encode(bytes()?)))
}

fn bytes() -> Result<[u8; 24], DevError> {
    let mut bytes = [0; 24];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| DevError::Here(io::Error::other("no random numbers")))?;
    Ok(bytes)
}
