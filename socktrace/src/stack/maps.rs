//! What a process may execute: `/proc/PID/maps`.

use std::{fs, io, path::PathBuf};

/// A part of a process's memory that holds code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    end: u64,
    /// Where in its file it begins.
    offset: u64,
    /// As the process sees it; `None` for memory without a file.
    pub(super) path: Option<String>,
}

/// All of them, in the order of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Maps(Vec<Mapping>);

impl Maps {
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        // A path may be any bytes.
        let text = fs::read(format!("/proc/{pid}/maps"))?;
        let maps = Self::parse(&String::from_utf8_lossy(&text));
        if maps.0.is_empty() {
            // That of a process that has exited and was not waited for.
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(maps)
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(mapping).collect())
    }

    /// What holds the code at this address.
    pub(super) fn of(&self, address: u64) -> Option<&Mapping> {
        let after = self.0.partition_point(|it| it.start <= address);
        let mapping = self.0.get(after.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }
}

impl Mapping {
    /// Where in its file the address is.
    pub(super) fn offset_of(&self, address: u64) -> u64 {
        address.saturating_sub(self.start) + self.offset
    }

    /// Its file, whatever has become of the path: the kernel's own link to it, which needs
    /// `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`, or else the path as the process sees it.
    pub(super) fn files(&self, pid: u32) -> Option<[PathBuf; 2]> {
        let path = self.path.as_ref().filter(|path| path.starts_with('/'))?;
        let (start, end) = (self.start, self.end);
        Some([
            PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}")),
            PathBuf::from(format!("/proc/{pid}/root{path}")),
        ])
    }
}

/// `START-END PERMISSIONS OFFSET DEVICE INODE PATH`, the numbers in hexadecimal.
fn mapping(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start();
        let (word, after) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        rest = after;
        word
    };
    let (range, permissions, offset, _device, _inode) = (word(), word(), word(), word(), word());
    let path = rest.trim_start();
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    (permissions.as_bytes().get(2) == Some(&b'x')).then_some(Mapping {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        path: (!path.is_empty()).then(|| path.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_by_its_address() {
        let maps = Maps::parse(
            "5000-6000 r--p 00000000 fe:00 7      /bin/a\n\
             6000-8000 r-xp 00001000 fe:00 7      /bin/a b (deleted)\n\
             9000-a000 rwxp 00000000 00:00 0 \n\
             nonsense\n\
             c000-d000 r-xp 00000000 00:00 0      [vdso]\n",
        );
        assert_eq!(maps.0.len(), 3);
        assert_eq!(maps.of(0x5fff), None);
        assert_eq!(maps.of(0x8000), None);
        let code = maps.of(0x7000).unwrap();
        assert_eq!(code.path.as_deref(), Some("/bin/a b (deleted)"));
        assert_eq!(code.offset_of(0x7000), 0x2000);
        assert_eq!(maps.of(0x9fff).unwrap().path, None);
        // It has no file.
        assert_eq!(maps.of(0xc000).unwrap().files(1), None);
    }

    #[test]
    fn own_code_is_code() {
        let maps = Maps::read(std::process::id()).unwrap();
        let address = own_code_is_code as *const () as u64;
        assert!(maps.of(address).unwrap().path.is_some());
        let data = [0_u8; 8];
        assert_eq!(maps.of(data.as_ptr() as u64), None);
    }
}
