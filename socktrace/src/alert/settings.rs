//! Section `alerts` of the configuration. An output is used if its section is there.
//!
//! What the webhook and Alertmanager have in common stands in both: flattened into them, serde would
//! know neither the line of a mistake nor the keys that there are.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use super::values::{Url, Urls, Words};
use crate::{
    detect::{Severity, settings::Text},
    sandbox::{Files, folders},
};

/// What is told, and to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Findings that are at least so bad. `info` is for people who look: most of it ends by itself.
    pub severity: Severity,
    /// The journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journald: Option<Journald>,
    /// A file of JSON, one alert a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<File>,
    /// A program that is run for each alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// A server that gets each alert as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Prometheus' Alertmanager, version 2 of its API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Alertmanager>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            severity: Severity::Suspect,
            journald: None,
            file: None,
            command: None,
            webhook: None,
            alertmanager: None,
        }
    }
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journald {
    /// Where it listens; a namespace of the journal has a socket of its own.
    pub socket: PathBuf,
}

impl Default for Journald {
    fn default() -> Self {
        Self {
            socket: "/run/systemd/journal/socket".into(),
        }
    }
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path. It is opened for each alert, so that it may be moved away at any time.
    pub path: PathBuf,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments. No shell reads them.
    pub run: Words,
    /// It is ended after so long.
    #[serde(default = "ten_seconds")]
    pub timeout: Text,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where alerts are posted to.
    pub url: Url,
    /// A file whose content is sent as a bearer token. It is read each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust instead of the system's, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// An answer must be there by then.
    #[serde(default = "ten_seconds")]
    pub timeout: Text,
}

/// Alertmanagers. All of a cluster get every alert, as they expect it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// Where they are, without `/api/v2/alerts`.
    pub urls: Urls,
    /// How often active alerts are sent again: it forgets them after four times as long.
    #[serde(default = "a_minute")]
    pub every: Text,
    /// More labels, for its routes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where its "Source" leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_url: Option<Url>,
    /// As for the webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// As for the webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// As for the webhook.
    #[serde(default = "ten_seconds")]
    pub timeout: Text,
}

fn ten_seconds() -> Text {
    Text(Duration::from_secs(10))
}

fn a_minute() -> Text {
    Text(Duration::from_mins(1))
}

/// One output, as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Output {
    Journald(Journald),
    File(File),
    Command(Command),
    Webhook(Webhook),
    /// One of them: where, how, and which.
    Alertmanager(Url, Alertmanager, String),
}

impl Output {
    /// What it opens; `None` for a program, which may open anything that its user may.
    pub(super) fn files(&self) -> Option<Files> {
        let nothing = Files::default();
        Some(match self {
            Self::Journald(_) => nothing,
            Self::File(file) => nothing.writing(folders(&file.path)),
            Self::Command(_) => return None,
            Self::Webhook(it) => calling(it.token_file.as_deref(), it.ca_file.as_deref()),
            Self::Alertmanager(_, it, _) => {
                calling(it.token_file.as_deref(), it.ca_file.as_deref())
            }
        })
    }

    /// The word for it, in messages and labels.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Journald(_) => "journald",
            Self::File(_) => "file",
            Self::Command(_) => "command",
            Self::Webhook(_) => "webhook",
            Self::Alertmanager(_, _, name) => name,
        }
    }
}

/// Where names are looked up, and authorities to trust: of the system, as its libraries are.
const SYSTEM: [&str; 8] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run",
    "/var/lib/ca-certificates",
    "/proc",
    "/sys/devices/system/cpu",
];

/// What it takes to call a server.
fn calling(token: Option<&Path>, authorities: Option<&Path>) -> Files {
    let files = Files::default().reading(SYSTEM);
    let named = [token, authorities].into_iter().flatten();
    // Where else OpenSSL's variables say that authorities are.
    let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    let variables: Vec<_> = variables.into_iter().flatten().collect();
    let files = files.reading(variables.iter().flat_map(std::env::split_paths));
    files.reading(named.flat_map(folders))
}

impl Settings {
    /// Every output that is wanted.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let mut outputs = Vec::new();
        outputs.extend(self.journald.clone().map(Output::Journald));
        outputs.extend(self.file.clone().map(Output::File));
        outputs.extend(self.command.clone().map(Output::Command));
        outputs.extend(self.webhook.clone().map(Output::Webhook));
        let Some(settings) = &self.alertmanager else {
            return outputs;
        };
        for (at, url) in settings.urls.0.iter().enumerate() {
            let name = match settings.urls.0.len() {
                1 => "alertmanager".to_owned(),
                _ => format!("alertmanager-{}", at + 1),
            };
            // What the others are is no matter of this one.
            let own = Alertmanager {
                urls: Urls(vec![url.clone()]),
                ..settings.clone()
            };
            outputs.push(Output::Alertmanager(url.clone(), own, name));
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn an_output_is_used_if_its_section_is_there() {
        let names = |text: &str| {
            let outputs = read(text).unwrap().outputs();
            let names = outputs.iter().map(|it| it.name().to_owned());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(""), "");
        assert_eq!(names("severity = \"info\""), "");
        assert_eq!(names("[journald]"), "journald");
        assert_eq!(
            names("[file]\npath = \"a\"\n[command]\nrun = [\"a\"]"),
            "file command"
        );
        assert_eq!(
            names("[webhook]\nurl = \"https://a/b\"\n[alertmanager]\nurls = [\"http://a\"]"),
            "webhook alertmanager"
        );
        assert_eq!(
            names("[alertmanager]\nurls = [\"http://a:9093\", \"http://b:9093/am/\"]"),
            "alertmanager-1 alertmanager-2"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for (text, said) in [
            ("severity = \"bad\"", "unknown variant `bad`"),
            ("[file]", "missing field `path`"),
            ("[journal]", "unknown field `journal`"),
            ("[command]\nrun = []", "[\"prog\", \"arg\"]"),
            ("[command]\nrun = [\"\"]", "[\"prog\", \"arg\"]"),
            ("[webhook]\nurl = \"example.com/x\"", "http:// or https://"),
            (
                "[webhook]\nurl = \"ftp://example.com\"",
                "http:// or https://",
            ),
            (
                "[webhook]\nurl = \"http://me:secret@example.com\"",
                "token_file",
            ),
            ("[alertmanager]\nurls = []", "there must be an address"),
            (
                "[alertmanager]\nurls = [\"http://a\"]\nevery = \"often\"",
                "30s, 5m or 1h30m",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(error.contains("line"), "{error}");
        }
    }
}
