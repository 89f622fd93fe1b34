//! What the checks before going live look at of the settings: values as they were set, and which of them are secrets.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Secret, Settings, SettingsError};
use crate::api;

impl Settings {
    /// `[web] public_url`: where web is reached from outside, without a trailing slash.
    pub fn public_url(&self) -> Result<Option<String>, SettingsError> {
        let Some(url) = &self.raw.web.public_url else { return Ok(None) };
        let url = url.0.trim_end_matches('/');
        if api::is_url(url) {
            return Ok(Some(url.to_owned()));
        }
        let remedy = "Write where web is reached from outside, like https://hooks.acme.example, or unset it.";
        Err(SettingsError::new("web.public_url", format!("is {url:?}"), remedy))
    }

    /// Secret files that others may read or write, each with its remedy.
    pub fn open_secret_files(&self) -> &[(String, String)] {
        &self.warnings
    }

    /// Where Stripe's events come in, on web.
    pub fn stripe_paths(&self) -> Result<Vec<String>, SettingsError> {
        self.webhook_paths()
    }

    /// Where web and api listen.
    pub fn listening(&self) -> Result<[(IpAddr, u16); 2], SettingsError> {
        let at = |section: &str, bind: &str, port: &str| {
            let key = format!("{section}.bind");
            let ip = bind.parse().map_err(|_| {
                SettingsError::new(&key, format!("is {bind:?}, not an IP address"), "Write 127.0.0.1, or 0.0.0.0.")
            })?;
            Ok((ip, super::number(&format!("{section}.port"), port, "a port from 0 to 65535")?))
        };
        let (web, api) = (&self.raw.web, &self.raw.api);
        Ok([at("web", &web.bind.0, &web.port.0)?, at("api", &api.bind.0, &api.port.0)?])
    }

    /// Whether checkouts are taxed by Stripe Tax.
    pub fn automatic_tax(&self) -> bool {
        self.raw.checkout.automatic_tax
    }

    /// The secrets that Stripe's events are signed with, each by itself, judged as web judges them.
    pub fn webhook_secret_each(&self) -> Result<Vec<Secret>, SettingsError> {
        self.webhook_secrets()?;
        Ok(self.raw.stripe.webhook_secret.iter().flat_map(each).collect())
    }

    /// How many bytes each secret has that verifications are signed with, judged as web judges them; none where there are none.
    pub fn verification_secret_bytes(&self) -> Result<Option<Vec<usize>>, SettingsError> {
        if self.verification_secrets()?.is_none() {
            return Ok(None);
        }
        let bytes = |secret: Secret| {
            let text = secret.expose();
            STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_or(0, |bytes| bytes.len())
        };
        Ok(Some(self.raw.web.verification_secret.iter().flat_map(each).map(bytes).collect()))
    }

    /// The api's token, judged as api judges it.
    pub fn judged_api_token(&self) -> Result<&Secret, SettingsError> {
        let token = self.api_token().ok_or_else(|| {
            let remedy = "Share a random one with the application: `openssl rand -hex 32` prints one.";
            SettingsError::missing("api.token", remedy)
        })?;
        self.token().map(|_| token)
    }

    /// The prices that are charged by use, with their skill.
    pub fn metered_prices(&self) -> Vec<(String, String)> {
        let of = |(skill, meter): (&String, &super::raw::Meter)| {
            meter.prices.0.iter().map(|price| (skill.clone(), price.clone())).collect::<Vec<_>>()
        };
        self.raw.meters.iter().flat_map(of).collect()
    }

    /// Every text that nobody may see: what is shown is searched for them.
    pub fn secrets(&self) -> Vec<String> {
        let raw = &self.raw;
        let whole = [
            &raw.stripe.secret_key,
            &raw.stripe.webhook_secret,
            &raw.web.verification_secret,
            &raw.api.token,
            &raw.notify.secret,
        ];
        let mut all: Vec<String> = whole.into_iter().flatten().flat_map(each).map(|s| s.expose().to_owned()).collect();
        let urls = [&raw.database.url, &raw.database.listen_url, &raw.smtp.url].into_iter().flatten();
        let urls = urls.map(Secret::expose).chain([raw.stripe.api_base.0.as_str()]);
        for password in urls.chain(raw.notify.url.as_ref().map(|url| url.0.as_str())).filter_map(password) {
            // As it is written, and as a server knows it and might repeat it.
            let plus = password.replace('+', "%2B");
            all.extend(form_urlencoded::parse(plus.as_bytes()).map(|(plain, _)| plain.into_owned()));
            all.push(password.to_owned());
        }
        // What is shorter than this stands in ordinary words too.
        all.retain(|secret| secret.len() >= 4);
        all
    }
}

/// Secrets with commas between them.
fn each(secret: &Secret) -> Vec<Secret> {
    secret.expose().split(',').map(|one| Secret::new(one.trim())).collect()
}

/// Of `scheme://user:password@host`.
fn password(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    authority.rsplit_once('@')?.0.split_once(':').map(|(_, password)| password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_parts(&[], variables, None).unwrap()
    }

    #[test]
    fn the_public_address_is_a_url_or_nothing() {
        assert_eq!(settings(&[]).public_url().unwrap(), None);
        let url = |text| settings(&[("BURSAR_WEB__PUBLIC_URL", text)]).public_url();
        assert_eq!(url("https://hooks.acme.example/").unwrap().as_deref(), Some("https://hooks.acme.example"));
        assert!(url("hooks.acme.example").unwrap_err().to_string().contains("BURSAR_WEB__PUBLIC_URL"));
    }

    #[test]
    fn every_secret_is_known_as_one() {
        let settings = settings(&[
            ("DATABASE_URL", "postgres://u:p%40ssword@h/d"),
            ("STRIPE_SECRET_KEY", "sk_test_abc"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_one_endpoint, whsec_two_endpoint"),
            ("VERIFICATION_SECRET", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
            ("API_TOKEN", "token"),
            ("NOTIFY_SECRET", "whsec_three"),
            ("SMTP_URL", "smtps://user:hunter2@mail.example.com"),
        ]);
        let secrets = settings.secrets();
        for secret in [
            "p%40ssword",
            "p@ssword",
            "sk_test_abc",
            "whsec_one_endpoint",
            "whsec_two_endpoint",
            "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "token",
            "whsec_three",
            "hunter2",
        ] {
            assert!(secrets.iter().any(|known| known == secret), "{secret}");
        }
        assert_eq!(settings.webhook_secret_each().unwrap().len(), 2);
        assert_eq!(settings.verification_secret_bytes().unwrap(), Some(vec![24]));
    }
}
