//! Where the numbers are shown and where the traces go, judged.

use std::net::{IpAddr, SocketAddr};

use super::{Settings, SettingsError, number, raw::Text};
use crate::telemetry::traces::{Destination, DestinationError};

impl Settings {
    /// Where `web` shows its metrics; nowhere where that is off.
    pub fn web_metrics(&self) -> Result<Option<SocketAddr>, SettingsError> {
        self.metrics("metrics.web_port", &self.raw.metrics.web_port)
    }

    /// Where `worker` does.
    pub fn worker_metrics(&self) -> Result<Option<SocketAddr>, SettingsError> {
        self.metrics("metrics.worker_port", &self.raw.metrics.worker_port)
    }

    fn metrics(&self, key: &str, port: &Text) -> Result<Option<SocketAddr>, SettingsError> {
        let raw = &self.raw.metrics.bind.0;
        let bind: IpAddr = raw.parse().map_err(|_| {
            let remedy = "Write 127.0.0.1 for this machine alone (the default), or an address that the scraper reaches and strangers do not.";
            SettingsError::new("metrics.bind", format!("is {raw:?}, not an IP address"), remedy)
        })?;
        if port.0 == "off" {
            return Ok(None);
        }
        number::<u16>(key, &port.0, "a port from 0 to 65535, or off").map(|port| Some(SocketAddr::new(bind, port)))
    }

    /// Where traces go; nowhere where nobody says so.
    pub fn traces(&self) -> Result<Option<Destination>, SettingsError> {
        let raw = &self.raw.telemetry;
        let Some(endpoint) = &raw.otlp_endpoint else { return Ok(None) };
        let headers = raw.otlp_headers.as_ref().map(super::Secret::expose);
        Destination::new(endpoint.expose(), headers).map(Some).map_err(|error| {
            let (key, remedy) = match error {
                DestinationError::Endpoint => (
                    "telemetry.otlp_endpoint",
                    "Write the base of an OTLP endpoint, like http://localhost:4318, or unset it.",
                ),
                DestinationError::Headers => {
                    ("telemetry.otlp_headers", "Write them as the endpoint's vendor says, or unset them.")
                }
            };
            SettingsError::new(key, error.to_string(), remedy)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(own: &[(&str, &str)]) -> Settings {
        let all: BTreeMap<_, _> = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::from_parts(&[], all, None).unwrap()
    }

    #[test]
    fn metrics_are_private_unless_somebody_says_otherwise() {
        let shown = |own: &[(&str, &str)]| {
            let settings = settings(own);
            (settings.web_metrics().unwrap(), settings.worker_metrics().unwrap().map(|address| address.to_string()))
        };
        let (web, worker) = shown(&[]);
        assert!(web.unwrap().ip().is_loopback());
        assert_eq!(worker.as_deref(), Some("127.0.0.1:3003"));
        assert_eq!(shown(&[("BURSAR_METRICS__WEB_PORT", "off"), ("BURSAR_METRICS__WORKER_PORT", "off")]), (None, None));
        let refused = |own| settings(own).web_metrics().unwrap_err().to_string();
        assert!(refused(&[("BURSAR_METRICS__BIND", "everywhere")]).contains("BURSAR_METRICS__BIND"));
        assert!(refused(&[("BURSAR_METRICS__WEB_PORT", "on")]).contains("or off"));
    }

    #[test]
    fn traces_go_where_the_usual_variable_says_and_nothing_secret_is_quoted() {
        assert!(settings(&[]).traces().unwrap().is_none());
        let own =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/"), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret")];
        let destination = settings(&own).traces().unwrap().unwrap();
        assert!(!format!("{destination:?}").contains("s3cret"));
        for (name, bad) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
        ] {
            let refused = settings(&[own[0], own[1], (name, bad)]).traces().unwrap_err().to_string();
            assert!(refused.contains(name) && !refused.contains("s3cret"), "{refused}");
        }
    }
}
