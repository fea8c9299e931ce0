//! The web configuration of Prometheus' exporters (`--web.config.file`), read again when it or a
//! file that it names has changed. While it cannot be read, nobody is let in.

mod clients;
mod file;
mod rate;
mod tls;
mod users;

use std::{
    fs,
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use hyper::header::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use tracing::{error, info};

use self::{file::File, rate::Bucket, users::Users};
use super::crowd::lock;
use crate::{
    failure::{CONFIGURATION, Failure},
    sandbox::folders,
};

/// What holds for a connection and its requests.
#[derive(Default)]
pub(super) struct Rules {
    /// None: no TLS.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// For every answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// None: anybody.
    pub(super) users: Option<Users>,
    /// None: as often as they like.
    pub(super) rate: Option<Bucket>,
}

/// The configuration as it is now.
pub(super) struct WebConfig {
    path: Option<PathBuf>,
    read: Mutex<Read>,
}

/// How the configuration was when it was read last.
struct Read {
    /// The files, and how each was just before.
    files: Vec<(PathBuf, Option<Stamp>)>,
    rules: Result<Arc<Rules>, Arc<str>>,
}

/// Changes whenever a file does: device, inode, length, times of content and inode.
#[derive(PartialEq, Eq)]
struct Stamp([u64; 3], [i64; 4]);

impl WebConfig {
    /// Reads the file; at the start a wrong one is an error.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let read = match path {
            None => Read {
                files: Vec::new(),
                rules: Ok(Arc::default()),
            },
            Some(path) => read(path),
        };
        if let Err(wrong) = &read.rules {
            return Err(Failure::new(CONFIGURATION, wrong.as_ref()));
        }
        Ok(Self {
            path: path.map(Path::to_owned),
            read: Mutex::new(read),
        })
    }

    /// What holds now; an error where the file is wrong. It costs a `stat` for each file.
    pub(super) fn now(&self) -> Result<Arc<Rules>, Arc<str>> {
        let mut last = lock(&self.read);
        if let Some(path) = &self.path
            && last.files.iter().any(|(file, was)| stamp(file) != *was)
        {
            *last = read(path);
            if let Err(wrong) = &last.rules {
                error!(%wrong, "nobody is let in until the web configuration is right");
            } else {
                info!(file = %path.display(), "the web configuration is read again");
            }
        }
        last.rules.clone()
    }

    /// The directories of what may be read again: files are replaced by renaming.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let last = lock(&self.read);
        let mut directories: Vec<PathBuf> = last
            .files
            .iter()
            .flat_map(|(file, _)| folders(file))
            .collect();
        directories.sort();
        directories.dedup();
        directories
    }
}

fn read(path: &Path) -> Read {
    // First looked at, then read: a change between the two is seen the next time.
    let mut files = vec![(path.to_owned(), stamp(path))];
    let rules = File::read(path).and_then(|file| {
        let others = file.names(path).into_iter();
        files.extend(others.map(|other| (other.clone(), stamp(&other))));
        file.rules(path)
    });
    let wrong = |error: String| format!("{}: {error}", path.display()).into();
    Read {
        files,
        rules: rules.map(Arc::new).map_err(wrong),
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some(Stamp(
        [file.st_dev(), file.st_ino(), file.st_size()],
        [
            file.st_mtime(),
            file.st_mtime_nsec(),
            file.st_ctime(),
            file.st_ctime_nsec(),
        ],
    ))
}
