//! A kernel of Debian's, fetched once: its ELF image, which QEMU boots without a boot loader, and its
//! modules.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt::{Apt, files},
    suites::Wanted,
};

/// What a suite's kernel for virtual machines is called, whichever it is today.
const META: &str = "linux-image-cloud-amd64";
const IMAGE: &str = "linux-image-";

/// A kernel that is here.
pub(super) struct Kernel {
    /// `6.1.0-56-cloud-amd64`
    pub(super) release: String,
    folder: PathBuf,
}

impl Kernel {
    /// Fetches it, unless it is here.
    pub(super) fn get(wanted: &Wanted, vm: &Path) -> Result<Self> {
        let (suite, package) = match wanted {
            Wanted::Fetched(release) => return Ok(Self::here(release, vm)),
            Wanted::OfSuite(suite) => (suite, None),
            Wanted::Release(suite, release) => (suite, Some(format!("{IMAGE}{release}"))),
        };
        let apt = Apt::of(suite, &vm.join("apt"))?;
        let package = match package {
            Some(package) => package,
            None => newest(&apt, suite)?,
        };
        let kernel = Self::here(package.trim_start_matches(IMAGE), vm);
        if !kernel.image().exists() {
            kernel
                .fetch(&apt, package)
                .with_context(|| format!("Linux {} of {suite}", kernel.release))?;
        }
        Ok(kernel)
    }

    fn here(release: &str, vm: &Path) -> Self {
        Self {
            release: release.to_owned(),
            folder: vm.join("kernels").join(release),
        }
    }

    /// Was this release fetched before?
    pub(super) fn is_here(release: &str, vm: &Path) -> bool {
        Self::here(release, vm).image().exists()
    }

    /// The ELF image.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The folder of its modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }

    fn fetch(&self, apt: &Apt, package: String) -> Result<()> {
        let unpacked = self.folder.join("unpacked");
        if self.folder.exists() {
            // Of a fetch that did not come to its end.
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&unpacked)?;
        // From 6.19 on the image's package is empty, and what it depends on has the files.
        let mut parts = apt.depends(&package, |name| {
            ["linux-base-", "linux-binary-", "linux-modules-"]
                .iter()
                .any(|part| name.starts_with(part) && name.ends_with(self.release.as_str()))
        })?;
        if parts.is_empty() {
            parts.push(package);
        }
        let bytes = apt.unpack(&parts, &unpacked)?;
        eprintln!("{}: {} kB", parts.join(" "), bytes / 1000);
        let below = ["lib/modules", "usr/lib/modules"].map(|it| unpacked.join(it));
        let modules = below.iter().map(|it| it.join(&self.release));
        let modules = modules.into_iter().find(|it| it.exists());
        let image = format!("vmlinuz-{}", self.release);
        let places = [
            Some(unpacked.join("boot").join(image)),
            // From 7.0 on.
            modules.as_ref().map(|it| it.join("vmlinuz")),
        ];
        let Some(image) = places.into_iter().flatten().find(|it| it.exists()) else {
            bail!("the package has no kernel where one was expected");
        };
        if let Some(modules) = modules {
            fs::rename(modules, self.modules())?;
            let beside = self.modules().join("vmlinuz");
            let image = if beside.exists() { beside } else { image };
            unpack(&image, &self.image())?;
        } else {
            unpack(&image, &self.image())?;
        }
        fs::remove_dir_all(unpacked)?;
        Ok(())
    }
}

fn newest(apt: &Apt, suite: &str) -> Result<String> {
    let images = apt.depends(META, |name| name.starts_with(IMAGE))?;
    let image = images.into_iter().next();
    image.with_context(|| format!("{suite} has no {META}"))
}

/// Takes the ELF image out of a bzImage: decompressing it is slow work for an emulated processor.
/// Where it is: Documentation/arch/x86/boot.rst.
fn unpack(bzimage: &Path, to: &Path) -> Result<()> {
    const SETUP_SECTORS: usize = 0x1f1;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24c;
    let bytes = fs::read(bzimage)?;
    let number = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(word)).ok()
    };
    let payload = || {
        let setup = usize::from(*bytes.get(SETUP_SECTORS)?);
        let from = (setup + 1) * 512 + number(PAYLOAD_OFFSET)?;
        bytes.get(from..from + number(PAYLOAD_LENGTH)?)
    };
    let payload = payload().context("it is no bzImage")?;
    // After the compressed image comes its size, which only gzip has a place for.
    let bare = &payload[..payload.len().saturating_sub(4)];
    let (program, payload) = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", bare),
        [0xfd, b'7', b'z', ..] => ("xz", bare),
        [0x02, 0x21, 0x4c, 0x18, ..] => ("lz4", bare),
        [0x1f, 0x8b, ..] => ("gzip", payload),
        _ => bail!("it is compressed in a way that is not known here"),
    };
    decompress(program, payload, to)
}

fn decompress(program: &str, bytes: &[u8], to: &Path) -> Result<()> {
    // Under its name only when it is whole.
    let (packed, part) = (to.with_extension("packed"), to.with_extension("part"));
    fs::write(&packed, bytes)?;
    let status = Command::new(program)
        .arg("-dc")
        .stdin(File::open(&packed)?)
        .stdout(File::create(&part)?)
        .stderr(Stdio::inherit())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    fs::remove_file(packed)?;
    if !status.success() {
        bail!("{program} cannot unpack it ({status})");
    }
    fs::rename(part, to)?;
    Ok(())
}

/// The releases that were fetched.
pub(super) fn fetched(vm: &Path) -> Vec<String> {
    let folders = files(&vm.join("kernels")).unwrap_or_default();
    let names = folders
        .iter()
        .filter_map(|it| it.file_name()?.to_str().map(str::to_owned));
    let mut names: Vec<_> = names.filter(|it| Kernel::is_here(it, vm)).collect();
    names.sort();
    names
}
