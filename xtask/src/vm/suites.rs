//! Which kernels: those of Debian's releases, from the oldest that can still be had to the newest.

use anyhow::{Result, bail};

/// A suite of Debian, and the kernel that it has.
pub(super) struct Suite {
    /// As apt calls it.
    pub(super) name: &'static str,
    /// What its kernel begins with, for people.
    pub(super) series: &'static str,
}

/// From the oldest kernel to the newest. The point releases move on with the suites.
pub(super) const SUITES: [Suite; 4] = [
    Suite {
        name: "bullseye-security",
        series: "5.10",
    },
    Suite {
        name: "bookworm-security",
        series: "6.1",
    },
    Suite {
        name: "trixie-security",
        series: "6.12",
    },
    Suite {
        name: "trixie-backports",
        series: "the newest",
    },
];

/// What `--kernel` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The suite's kernel for virtual machines.
    OfSuite(String),
    /// This one of the suite, for as long as the suite has it: `trixie-backports/6.18.15+deb13-cloud-amd64`.
    Release(String, String),
    /// One that was fetched before.
    Fetched(String),
}

impl Wanted {
    /// A suite, a series (`6.1`), a suite and a release, or a release that was fetched.
    pub(super) fn parse(word: &str, is_fetched: impl Fn(&str) -> bool) -> Result<Self> {
        if let Some((suite, release)) = word.split_once('/') {
            return Ok(Self::Release(suite.to_owned(), release.to_owned()));
        }
        let known = SUITES
            .iter()
            .find(|suite| suite.name == word || suite.series == word);
        if let Some(suite) = known {
            return Ok(Self::OfSuite(suite.name.to_owned()));
        }
        if is_fetched(word) {
            return Ok(Self::Fetched(word.to_owned()));
        }
        if word.starts_with(|it: char| it.is_ascii_digit()) {
            bail!(
                "no kernel {word} was fetched: name a suite that has it, as in \
                 trixie-backports/{word}; `cargo xtask vm --list` lists suites"
            );
        }
        Ok(Self::OfSuite(word.to_owned()))
    }

    /// The oldest and the newest.
    pub(super) fn edges() -> Vec<Self> {
        let edges = [&SUITES[0], &SUITES[SUITES.len() - 1]];
        edges.map(|it| Self::OfSuite(it.name.to_owned())).into()
    }

    /// The kernel of each suite.
    pub(super) fn all() -> Vec<Self> {
        let names = SUITES.iter().map(|suite| suite.name.to_owned());
        names.map(Self::OfSuite).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_named_by_suite_by_series_or_by_release() {
        let parse = |word| Wanted::parse(word, |it| it == "6.1.0-56-cloud-amd64");
        let suite = |name: &str| Wanted::OfSuite(name.to_owned());
        assert_eq!(
            parse("bookworm-security").unwrap(),
            suite("bookworm-security")
        );
        assert_eq!(parse("6.1").unwrap(), suite("bookworm-security"));
        assert_eq!(parse("sid").unwrap(), suite("sid"));
        assert_eq!(
            parse("6.1.0-56-cloud-amd64").unwrap(),
            Wanted::Fetched("6.1.0-56-cloud-amd64".to_owned())
        );
        assert_eq!(
            parse("sid/7.2.13-cloud-amd64").unwrap(),
            Wanted::Release("sid".to_owned(), "7.2.13-cloud-amd64".to_owned())
        );
        let error = parse("6.9.1-cloud-amd64").unwrap_err().to_string();
        assert!(error.contains("trixie-backports/6.9.1"), "{error}");
    }
}
