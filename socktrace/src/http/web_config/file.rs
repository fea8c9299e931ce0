//! What is in the file: the keys of Prometheus' exporter-toolkit, and no others.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::{Rules, rate, tls, users::Users};

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    tls_server_config: Option<tls::Section>,
    http_server_config: Option<Http>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<rate::Section>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Http {
    http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

/// Headers that may be set, and to what; nothing said is anything.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // An empty file is one in which everything is as by default.
        // A message goes to the log, where no line with a key or a hash has a place.
        let no_lines = serde_saphyr::options! { with_snippet: false };
        let file: Option<Self> = serde_saphyr::from_str_with_options(text, no_lines)
            .map_err(|error| error.to_string())?;
        Ok(file.unwrap_or_default())
    }

    /// The files that it names; relative ones are relative to its own directory.
    pub(super) fn names(&self, path: &Path) -> Vec<PathBuf> {
        let tls = self.tls_server_config.iter();
        tls.flat_map(|tls| tls.names(directory(path))).collect()
    }

    /// What it means.
    pub(super) fn rules(self, path: &Path) -> Result<Rules, String> {
        let http = self.http_server_config.unwrap_or_default();
        let tls = self.tls_server_config.filter(tls::Section::is_there);
        let tls = tls.map(|tls| tls.server(directory(path), http.http2.unwrap_or(true)));
        let users = self.basic_auth_users.filter(|users| !users.is_empty());
        Ok(Rules {
            tls: tls
                .transpose()
                .map_err(|e| format!("tls_server_config: {e}"))?,
            headers: headers(http.headers.unwrap_or_default())
                .map_err(|e| format!("http_server_config: headers: {e}"))?,
            users: users
                .map(Users::new)
                .transpose()
                .map_err(|e| format!("basic_auth_users: {e}"))?,
            rate: self
                .rate_limit
                .unwrap_or_default()
                .bucket()
                .map_err(|e| format!("rate_limit: {e}"))?,
        })
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn headers(set: BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(name, value): (String, String)| {
        let known = HEADERS.iter().find(|(known, _)| *known == name);
        let Some((_, values)) = known else {
            let names = HEADERS.map(|(name, _)| name).join(", ");
            return Err(format!("{name} cannot be set, only {names}"));
        };
        if !values.is_empty() && !values.contains(&value.as_str()) {
            return Err(format!(
                "{name} is one of {}, not {value}",
                values.join(", ")
            ));
        }
        let wrong = |_| format!("{name}: this cannot stand in a header: {value:?}");
        let header = HeaderValue::try_from(&value).map_err(wrong)?;
        let name = HeaderName::try_from(&name).map_err(|error| error.to_string())?;
        Ok((name, header))
    };
    // A blank one is as if it were not there.
    let set = set.into_iter().filter(|(_, value)| !value.is_empty());
    set.map(header).collect()
}
