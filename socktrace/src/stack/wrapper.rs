//! Where a system call's wrapper in libc returns to.
//!
//! It makes no frame, so no chain of frame pointers has its caller. What it moves the stack pointer
//! by at the system call is in its file (`.eh_frame`, DWARF 5, 6.4): so far up the stack is its return
//! address. Guessing instead would find what an earlier call left there.

use std::fs::File;

use gimli::{BaseAddresses, CfaRule, EhFrame, NativeEndian, UnwindContext, UnwindSection as _};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ReadCache};

use super::maps::Mapping;

/// The stack pointer among DWARF's registers (System V ABI, AMD64, figure 3.36).
const RSP: gimli::Register = gimli::X86_64::RSP;

/// Which word above the stack pointer is the return address at `address`; `None` where the function
/// has a frame of its own, or its file does not say.
pub(super) fn slot(mapping: &Mapping, pid: u32, address: u64) -> Option<usize> {
    let files = mapping.files(pid)?;
    let file = files.iter().find_map(|path| File::open(path).ok())?;
    let cache = ReadCache::new(file);
    let file = object::File::parse(&cache).ok()?;
    let offset = mapping.offset_of(address);
    let address = file.segments().find_map(|segment| {
        let (from, size) = segment.file_range();
        let within = offset.checked_sub(from).filter(|within| *within < size)?;
        segment.address().checked_add(within)
    })?;
    let section = file.section_by_name(".eh_frame")?;
    let data = section.uncompressed_data().ok()?;
    let frames = EhFrame::new(&data, NativeEndian);
    let mut bases = BaseAddresses::default().set_eh_frame(section.address());
    if let Some(text) = file.section_by_name(".text") {
        bases = bases.set_text(text.address());
    }
    let mut context = UnwindContext::new();
    let row = frames
        .unwind_info_for_address(&bases, &mut context, address, EhFrame::cie_from_offset)
        .ok()?;
    match row.cfa() {
        // The return address is just below the frame.
        CfaRule::RegisterAndOffset { register, offset } if *register == RSP => {
            let word = offset.checked_sub(8).filter(|offset| offset % 8 == 0)? / 8;
            usize::try_from(word).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::maps::Maps, *};

    /// The word in which a function's return address is while it has not done anything yet.
    #[test]
    fn the_return_address_of_a_function_that_begins_is_on_top() {
        let pid = std::process::id();
        let maps = Maps::read(pid).unwrap();
        let address = std::fs::read_to_string::<&str> as *const () as u64;
        let mapping = maps.of(address).unwrap();
        let found = slot(mapping, pid, address);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(found, Some(0));
        }
        // So far behind the mapping there is nothing in its file.
        assert_eq!(slot(mapping, pid, u64::MAX), None);
    }
}
