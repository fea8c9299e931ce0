//! The configuration file: TOML, in which every key has a default.

mod suggestion;

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    alert, detect, exporter,
    failure::{CONFIGURATION, Failure},
    table::MOST_SOCKETS,
};

/// What can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    /// How much the daemon takes.
    pub daemon: Daemon,
    /// What its metrics show.
    pub metrics: exporter::Settings,
    /// When something is a finding: a section for each kind.
    pub detect: detect::Settings,
    /// Who is told of findings.
    pub alerts: alert::Settings,
}

/// How much the daemon takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Daemon {
    /// So many sockets at most are followed, about 230 bytes each. New ones are not followed when
    /// there are more; the oldest stay, as those are the leaks.
    pub max_sockets: usize,
    /// Size of the ring buffer between kernel and user space, in KiB: a power of two.
    pub ring_size: u32,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            max_sockets: MOST_SOCKETS,
            ring_size: 4096,
        }
    }
}

impl Configuration {
    /// Reads a file; without one, everything is as by default.
    pub fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(CONFIGURATION, format!("{}: {error}", path.display()))
        };
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        Self::parse(&text).map_err(|error| wrong(&error))
    }

    /// Reads what is in a file; what is wrong with it, for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let suggestion = suggestion::of(error.message()).unwrap_or_default();
            let said = error.to_string();
            format!("{}{suggestion}", said.trim_end())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::Duration};

    use super::*;

    fn read(text: &str) -> Result<Configuration, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Configuration::read(Some(file.path()))
    }

    #[test]
    fn what_is_not_said_is_as_by_default() {
        let read = read("[detect.close_wait]\nage = \"2s\"\n").unwrap();
        let mut expected = Configuration::default();
        expected.detect.close_wait.age.0 = Duration::from_secs(2);
        assert_eq!(read, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, said) in [
            ("[detect.close_wait]\nages = \"2s\"", "unknown field `ages`"),
            (
                "[detect.close_wait]\nages = \"2s\"",
                "; did you mean `age`?",
            ),
            ("[detct]", "; did you mean `detect`?"),
            ("[alerts]\nseverity = \"warn\"", "; did you mean `warning`?"),
            ("[detect.close_wait]\n\nage = 2", "line 3"),
            ("[detect.close_wait]\nage = \"soon\"", "30s, 5m or 1h30m"),
            ("[detect", "line 1"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.status, 78);
            assert!(error.message.contains(said), "{error}");
        }
    }

    #[test]
    fn the_defaults_can_be_written_and_read() {
        let text = toml::to_string(&Configuration::default()).unwrap();
        assert_eq!(read(&text).unwrap(), Configuration::default());
        assert!(text.contains("[detect.close_wait]\n"), "{text}");
    }
}
