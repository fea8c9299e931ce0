//! What stands in settings and is more than a text: it is refused with its line if it makes no sense.

use hyper::Uri;
use serde::{Deserialize, Serialize};

/// A program and its arguments: at least the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Words(pub(super) Vec<String>);

impl TryFrom<Vec<String>> for Words {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, Self::Error> {
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self(words)),
            _ => Err("a command is a list of a program and its arguments: [\"prog\", \"arg\"]"),
        }
    }
}

/// At least one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Url>")]
pub struct Urls(pub(super) Vec<Url>);

impl TryFrom<Vec<Url>> for Urls {
    type Error = &'static str;

    fn try_from(urls: Vec<Url>) -> Result<Self, Self::Error> {
        if urls.is_empty() {
            return Err("there must be an address: [\"http://127.0.0.1:9093\"]");
        }
        Ok(Self(urls))
    }
}

/// An address that can be posted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url(pub(super) Uri);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let uri = text.parse::<Uri>().ok();
        let known = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
        let uri = uri.filter(|uri| known(uri) && uri.host().is_some_and(|host| !host.is_empty()));
        let Some(uri) = uri else {
            return Err(format!(
                "`{text}` is no address: it begins with http:// or https:// and a host"
            ));
        };
        // It would be shown wherever the address is.
        if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err("an address holds no password: `token_file` names a file for it".into());
        }
        Ok(Self(uri))
    }
}

impl From<Url> for String {
    fn from(url: Url) -> Self {
        url.0.to_string()
    }
}
