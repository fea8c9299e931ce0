//! A container with systemd as its first process, on the machine's own kernel. It ends with the job,
//! and nothing that was done in it stays.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result, bail};

use super::cgroups::Cgroups;
use crate::util::{as_root, workspace};

/// In seconds. The job takes two minutes.
const LIMIT: &str = "660";

/// Runs packaging/test/job on a copy of this root, which is not changed, with this package.
pub(super) fn job(root: &Path, deb: &Path) -> Result<()> {
    let tests = workspace().join("packaging/test");
    let deb = deb
        .canonicalize()
        .with_context(|| format!("{}", deb.display()))?;
    let before = Cgroups::now();
    let mut nspawn = as_root("timeout")?;
    // In the foreground, so that Ctrl-C ends the container, too.
    nspawn.args(["--foreground", "--kill-after=10", LIMIT]);
    nspawn.args([
        "env",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        "systemd-nspawn",
    ]);
    nspawn.args(["--quiet", "--boot", "--volatile=overlay", "--directory"]);
    nspawn.arg(root);
    nspawn.args(["--machine=socktrace-package-test", "--private-network"]);
    nspawn.args(["--link-journal=no", "--console=read-only"]);
    // The daemon drops what it does not need; what a container lacks by default would be no daemon.
    nspawn.args([
        "--capability=all",
        "--system-call-filter=bpf perf_event_open",
    ]);
    nspawn.arg(bound(&tests, "/package-test"));
    let unit = tests.join("package-test.service");
    nspawn.arg(bound(&unit, "/etc/systemd/system/package-test.service"));
    nspawn.arg(bound(&deb, "/package.deb"));
    if !Path::new("/run/systemd/system").exists() {
        // There is nobody whom it could ask for a scope.
        nspawn.args(["--register=no", "--keep-unit"]);
    }
    // systemd in a container takes them as a kernel's command line.
    nspawn.args([
        "systemd.unit=multi-user.target",
        "systemd.wants=package-test.service",
    ]);
    nspawn.args(["systemd.show_status=no", "systemd.log_target=null"]);
    nspawn.args([
        "systemd.mask=console-getty.service",
        "systemd.mask=getty.target",
    ]);
    let status = nspawn.stdin(Stdio::null()).status();
    before.remove_new();
    let status = status.context("cannot start systemd-nspawn")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(124 | 137) => bail!("the container was ended after {LIMIT} s"),
        _ => bail!("the package's test failed ({status}); what it saw is above"),
    }
}

fn bound(from: &Path, to: &str) -> String {
    format!("--bind-ro={}:{to}", from.display())
}
