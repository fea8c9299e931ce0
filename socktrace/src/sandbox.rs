//! What a thread may still open, by Landlock (5.13): a thread that talks to others needs few files,
//! and a mistake in it must not reach the rest.
//!
//! Not for threads that look at other processes: whoever is in a Landlock domain may not look into
//! `/proc/PID/fd` or `/proc/PID/ns` of a process outside of it (`hook_ptrace_access_check` of the
//! kernel's `security/landlock`), whatever its capabilities.

use std::{
    path::{Path, PathBuf},
    thread,
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, path_beneath_rules,
};

/// What is refused unless it is allowed; older kernels refuse less. Later ABIs refuse what paths do
/// not name: the socket of the journal is connected to, not opened.
const KNOWN: ABI = ABI::V5;

/// The files that a thread needs. What is below a folder belongs to it.
#[derive(Debug, Default)]
pub struct Files(Vec<(PathBuf, BitFlags<AccessFs>)>);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounded {
    /// As asked for.
    Fully,
    /// This kernel knows less of it.
    Partly,
    /// Not at all, and why.
    Not(&'static str),
}

impl Files {
    /// These are read. What is not there cannot be read later either.
    #[must_use]
    pub fn reading<P: AsRef<Path>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        self.with(paths, AccessFs::ReadFile | AccessFs::ReadDir)
    }

    /// In these folders files are made, written, renamed and removed.
    #[must_use]
    pub fn writing<P: AsRef<Path>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        let writes = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg;
        let all = writes | AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::RemoveFile;
        self.with(paths, all)
    }

    /// From these folders files are removed.
    #[must_use]
    pub fn removing<P: AsRef<Path>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        self.with(paths, AccessFs::RemoveFile)
    }

    fn with<P: AsRef<Path>>(
        mut self,
        paths: impl IntoIterator<Item = P>,
        access: impl Into<BitFlags<AccessFs>>,
    ) -> Self {
        let access = access.into();
        let paths = paths.into_iter().map(|path| path.as_ref().to_owned());
        self.0.extend(paths.map(|path| (path, access)));
        self
    }

    /// From now on the calling thread, and those that it starts, open nothing else. It stays so.
    pub fn confine(&self) -> Result<Bounded, RulesetError> {
        let status = self.rules()?.restrict_self()?;
        Ok(match (status.ruleset, status.landlock) {
            (RulesetStatus::FullyEnforced, _) => Bounded::Fully,
            (RulesetStatus::PartiallyEnforced, _) => Bounded::Partly,
            (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Bounded::Not(
                "Landlock is not enabled: the kernel's command line has lsm= without landlock",
            ),
            (RulesetStatus::NotEnforced, _) => {
                Bounded::Not("this kernel has no Landlock (5.13, CONFIG_SECURITY_LANDLOCK)")
            }
        })
    }

    /// What would come of it here: asked in a thread that opens nothing.
    pub fn available() -> Result<Bounded, String> {
        let asked = thread::spawn(|| Self::default().confine().map_err(|error| error.to_string()));
        let failed = "the thread that asked has failed".to_owned();
        asked.join().unwrap_or(Err(failed))
    }

    fn rules(&self) -> Result<RulesetCreated, RulesetError> {
        let all = AccessFs::from_all(KNOWN);
        let rules = Ruleset::default().handle_access(all)?.create()?;
        self.0.iter().try_fold(rules, |rules, (path, access)| {
            rules.add_rules(path_beneath_rules([path], *access))
        })
    }
}

/// The folders that a file is in: as it is named, and where links lead to. A certificate that is
/// renewed is another file in one of them.
pub fn folders(file: &Path) -> Vec<PathBuf> {
    // One that is still to be made is made in one that is there.
    let there = file
        .ancestors()
        .skip(1)
        .find(|it| it.as_os_str().is_empty() || it.exists());
    let mut folders: Vec<PathBuf> = there.map(Path::to_owned).into_iter().collect();
    if let Ok(real) = file.canonicalize() {
        folders.extend(real.parent().map(Path::to_owned));
    }
    for folder in &mut folders {
        // A name without a folder is in this one.
        if folder.as_os_str().is_empty() {
            *folder = PathBuf::from(".");
        }
    }
    folders.sort_unstable();
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind};

    use super::*;

    #[test]
    fn a_thread_in_bounds_opens_its_files_and_no_others_and_the_others_are_free() {
        let (mine, read, other) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let file = |folder: &tempfile::TempDir| folder.path().join("file");
        for folder in [&mine, &read, &other] {
            fs::write(file(folder), "text").unwrap();
        }
        let bounded = thread::scope(|scope| {
            let inside = || {
                let files = Files::default()
                    .writing([mine.path()])
                    .reading([read.path()]);
                let bounded = files.confine().unwrap();
                if matches!(bounded, Bounded::Not(_)) {
                    return bounded;
                }
                fs::write(file(&mine), "new").unwrap();
                fs::rename(file(&mine), mine.path().join("renamed")).unwrap();
                fs::remove_file(mine.path().join("renamed")).unwrap();
                assert_eq!(fs::read_to_string(file(&read)).unwrap(), "text");
                let refused = |done: std::io::Result<()>| {
                    assert_eq!(done.unwrap_err().kind(), ErrorKind::PermissionDenied);
                };
                refused(fs::write(file(&read), "new"));
                refused(fs::read(file(&other)).map(drop));
                refused(fs::write(file(&other), "new"));
                refused(fs::remove_file(file(&other)));
                // Whatever it starts is in the same bounds.
                thread::scope(|scope| {
                    let started = scope.spawn(|| refused(fs::read(file(&other)).map(drop)));
                    started.join().unwrap();
                });
                bounded
            };
            scope.spawn(inside).join().unwrap()
        });
        #[allow(clippy::print_stderr, reason = "a test says why it passes")]
        if let Bounded::Not(why) = bounded {
            eprintln!("not tested: {why}");
        }
        assert_eq!(fs::read_to_string(file(&other)).unwrap(), "text");
    }

    #[test]
    fn a_link_is_in_two_folders() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (live, archive) = (root.join("live"), root.join("archive"));
        fs::create_dir(&live).unwrap();
        fs::create_dir(&archive).unwrap();
        fs::write(archive.join("1.pem"), "").unwrap();
        std::os::unix::fs::symlink("../archive/1.pem", live.join("now.pem")).unwrap();
        assert_eq!(folders(&live.join("now.pem")), [archive, live]);
        assert_eq!(folders(&root.join("not/yet/there.json")), [root]);
        assert_eq!(folders(Path::new("web.yml")), [Path::new(".")]);
    }
}
