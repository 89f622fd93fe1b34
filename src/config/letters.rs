//! How letters are written, and how they leave.

use std::path::{Path, PathBuf};

use bursar_jobs::letters::{Config, Maildir, Postbox, PostboxError, Smtp, SmtpError, Way};

use super::{Settings, SettingsError};

/// Who writes where nobody reads: into a maildir.
const NOBODY: &str = "bursar <bursar@localhost>";

impl Settings {
    /// Where letters are written and leave. Every template is read and checked. Without SMTP_URL they go to `[letters] maildir`, or to
    /// the one given here.
    pub fn postbox(&self, maildir: &Path) -> Result<Postbox, SettingsError> {
        let raw = &self.raw.letters;
        let way = match &self.raw.smtp.url {
            Some(url) => Way::Smtp(Smtp::new(url.expose(), self.roots()?.as_deref()).map_err(|error| of_smtp(&error))?),
            None => {
                Way::Maildir(Maildir::new(raw.maildir.as_ref().map_or(maildir.into(), |text| PathBuf::from(&text.0))))
            }
        };
        let from = match (&raw.from, &way) {
            (Some(from), _) => from.0.as_str(),
            (None, Way::Maildir(_)) => NOBODY,
            (None, Way::Smtp(_)) => {
                let remedy = "Write who the letters are from, like \"Acme <billing@acme.example>\", or unset SMTP_URL.";
                return Err(SettingsError::missing("letters.from", remedy));
            }
        };
        let config = Config {
            from,
            team: raw.team.as_ref().map(|text| text.0.as_str()),
            locale: &raw.locale.0,
            templates: raw.templates.as_ref().map(|text| Path::new(&text.0)),
            portal_url: raw.portal_url.as_ref().map(|text| text.0.as_str()),
            way,
        };
        Postbox::new(config).map_err(|error| {
            let (key, remedy) = match error {
                PostboxError::From(_) => ("letters.from", "Write one like \"Acme <billing@acme.example>\"."),
                PostboxError::Team(_) => ("letters.team", "Write one like ops@acme.example."),
                PostboxError::Locale => {
                    ("letters.locale", "Write `en`, `de`, or the name of a folder of your own templates.")
                }
                PostboxError::PortalUrl => {
                    ("letters.portal_url", "Write one like https://acme.example/billing, or unset it.")
                }
                PostboxError::Template(_) => {
                    ("letters.templates", "Mend that file, or take it away: the built-in one is used then.")
                }
            };
            SettingsError::new(key, format!("cannot be used: {error}"), remedy)
        })
    }

    /// Certificates to trust at the mail server, besides Mozilla's.
    fn roots(&self) -> Result<Option<Vec<u8>>, SettingsError> {
        let Some(file) = &self.raw.smtp.ca_file else { return Ok(None) };
        std::fs::read(&file.0).map(Some).map_err(|error| {
            let problem = format!("names {}, which cannot be read: {error}", file.0);
            SettingsError::new(
                "smtp.ca_file",
                problem,
                "Point it at a PEM file that this process may read, or unset it.",
            )
        })
    }
}

fn of_smtp(error: &SmtpError) -> SettingsError {
    let (key, remedy) = match error {
        SmtpError::Url | SmtpError::Tls(_) => (
            "smtp.url",
            "Write smtps://user:password@host (port 465), smtp://user:password@host?tls=required (port 587), or smtp://localhost; special \
             characters as %XX.",
        ),
        SmtpError::Parameter => ("smtp.url", "Write ?tls=required, or leave it out."),
        SmtpError::PlainPassword => ("smtp.url", "Write smtps://, or add ?tls=required."),
        SmtpError::Certificate => ("smtp.ca_file", "Point it at a file that holds `-----BEGIN CERTIFICATE-----`."),
    };
    SettingsError::new(key, error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::File;

    fn postbox(variables: &[(&str, &str)], file: &str) -> Result<Postbox, SettingsError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let file = File { name: "bursar.toml".into(), text: file.into() };
        Settings::from_parts(&[], variables, Some(&file)).and_then(|settings| settings.postbox(Path::new("mail")))
    }

    const FROM: &str = "[letters]\nfrom = \"Acme <billing@acme.example>\"\n";

    #[test]
    fn without_a_mail_server_letters_go_to_a_maildir() {
        assert_eq!(postbox(&[], "").unwrap().folder(), Some(Path::new("mail")));
        assert_eq!(postbox(&[("BURSAR_LETTERS__MAILDIR", "/x")], "").unwrap().folder(), Some(Path::new("/x")));
    }

    #[tokio::test]
    async fn a_mail_server_wants_a_sender_and_its_password_is_never_shown() {
        let url = ("SMTP_URL", "smtps://bursar:hunter2@mail.example.com");
        let refused = postbox(&[url], "").unwrap_err().to_string();
        assert!(refused.contains("BURSAR_LETTERS__FROM") && !refused.contains("hunter2"), "{refused}");
        let made = postbox(&[url], FROM).unwrap();
        assert_eq!((made.folder(), made.place().as_str()), (None, "mail.example.com:465"));
        assert!(!format!("{made:?}").contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_with_a_remedy() {
        for (variables, named) in [
            (&[("SMTP_URL", "mail.example.com")][..], "SMTP_URL (`smtp.url`)"),
            (&[("SMTP_URL", "smtp://bursar:hunter2@mail.example.com")], "?tls=required"),
            (&[("SMTP_URL", "smtp://mail.example.com?verify=no")], "SMTP_URL"),
            (&[("SMTP_URL", "smtps://x.example"), ("BURSAR_SMTP__CA_FILE", "/nowhere")], "BURSAR_SMTP__CA_FILE"),
            (&[("SMTP_URL", "smtps://x.example"), ("BURSAR_SMTP__CA_FILE", "/dev/null")], "BURSAR_SMTP__CA_FILE"),
            (&[("BURSAR_LETTERS__FROM", "Acme")], "BURSAR_LETTERS__FROM"),
            (&[("BURSAR_LETTERS__TEAM", "ops")], "BURSAR_LETTERS__TEAM"),
            (&[("BURSAR_LETTERS__LOCALE", "../de")], "BURSAR_LETTERS__LOCALE"),
            (&[("BURSAR_LETTERS__PORTAL_URL", "acme.example")], "BURSAR_LETTERS__PORTAL_URL"),
            (&[("BURSAR_LETTERS__TEMPLATES", "/nowhere")], "BURSAR_LETTERS__TEMPLATES"),
        ] {
            let refused = postbox(variables, FROM).unwrap_err().to_string();
            assert!(refused.contains(named) && !refused.contains("hunter2"), "{variables:?}: {refused}");
        }
        assert!(postbox(&[], "[letters]\ntypo = 1").unwrap_err().to_string().contains("typo"));
    }
}
