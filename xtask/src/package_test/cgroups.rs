//! Where systemd is not the first process, systemd-nspawn leaves its control groups behind.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::util::as_root;

/// Those that there are.
pub(super) struct Cgroups(BTreeSet<PathBuf>);

impl Cgroups {
    pub(super) fn now() -> Self {
        let mut all = BTreeSet::new();
        collect(Path::new("/sys/fs/cgroup"), &mut all);
        Self(all)
    }

    /// Removes what the container left. A group in which there is anybody cannot be removed.
    pub(super) fn remove_new(&self) {
        // The deepest first.
        for group in Self::now()
            .0
            .difference(&self.0)
            .collect::<Vec<_>>()
            .iter()
            .rev()
        {
            let is_nspawns = group.components().any(|part| {
                ["payload", "supervisor"]
                    .iter()
                    .any(|it| part.as_os_str() == *it)
            });
            if is_nspawns
                && let Ok(mut rmdir) = as_root("rmdir")
                && let Err(error) = rmdir.arg(group).status()
            {
                eprintln!("{} stays: {error}", group.display());
            }
        }
    }
}

fn collect(folder: &Path, all: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            all.insert(entry.path());
            collect(&entry.path(), all);
        }
    }
}
