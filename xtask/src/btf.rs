//! What the object's BTF says of its types, as far as its bytes depend on it.
//!
//! LLVM orders the forward declarations of structs by their addresses in its own memory
//! (`FixupDerivedTypes` of `llvm/lib/Target/BPF/BTFDebug.h`), so two of them stand in an order that
//! depends on the length of a path. One declares a struct that the BTF has only pointers to, and only
//! from within other structs: that is a reference which a closure captures.

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _};

const MAGIC: u16 = 0xeb9f;
const FORWARD: u32 = 7;

/// Fails if more than one struct is declared and not described.
pub(crate) fn check(elf: &[u8]) -> Result<()> {
    let file = object::File::parse(elf).context("the object is no ELF file")?;
    let section = file
        .section_by_name(".BTF")
        .context("the object has no BTF")?;
    let names = forwards(section.data()?)?;
    if names.len() > 1 {
        bail!(
            "the object's BTF has forward declarations of {}, in no certain order, so its bytes are not those \
             that another folder gives. A closure that is a function of its own captures references to them: \
             make it a `move` closure, and them `Copy`",
            names.join(", ")
        );
    }
    Ok(())
}

/// Names of the structs that are declared only.
fn forwards(btf: &[u8]) -> Result<Vec<String>> {
    ensure!(
        btf.get(..2) == Some(&MAGIC.to_le_bytes()),
        "the object's BTF has another format"
    );
    // `struct btf_header` (`include/uapi/linux/btf.h`).
    let header = word(btf, 4)?;
    let (types, length) = (header + word(btf, 8)?, word(btf, 12)?);
    let strings = header + word(btf, 16)?;
    let mut names = Vec::new();
    let mut at = types as usize;
    while at < (types + length) as usize {
        let (name, info) = (word(btf, at)?, word(btf, at + 4)?);
        let (kind, parts) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == FORWARD {
            let name = btf.get((strings + name) as usize..).unwrap_or_default();
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        at += 12 + behind(kind, parts)?;
    }
    Ok(names)
}

/// Bytes behind a `struct btf_type` of this kind.
fn behind(kind: u32, parts: usize) -> Result<usize> {
    Ok(match kind {
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Struct, union, values of a section, enum of 64 bits.
        4 | 5 | 15 | 19 => 12 * parts,
        // Enum, parameters.
        6 | 13 => 8 * parts,
        // Pointer, declaration, typedef, three qualifiers, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        _ => bail!("the object's BTF has types of kind {kind}, which are not known here"),
    })
}

fn word(btf: &[u8], at: usize) -> Result<u32> {
    let bytes = btf.get(at..at + 4).context("the object's BTF is cut off")?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::object;

    /// BTF of these types, with two names.
    fn btf(types: &[u32]) -> Vec<u8> {
        let strings = b"\0Kind\0Subject\0";
        let size = |bytes: usize| u32::try_from(bytes).unwrap();
        let length = size(4 * types.len());
        let header = [24, 0, length, length, size(strings.len())];
        let mut bytes = [&MAGIC.to_le_bytes()[..], &[1, 0]].concat();
        bytes.extend(
            header
                .iter()
                .chain(types)
                .flat_map(|word| word.to_le_bytes()),
        );
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn declarations_are_found_behind_types_of_any_length() {
        let pointer = [0, 2 << 24, 4];
        let integer = [1, 1 << 24, 8, 64];
        let with_two_members = [1, 4 << 24 | 2, 16, 1, 1, 0, 6, 2, 64];
        let (kind, subject) = ([1, 7 << 24, 0], [6, 7 << 24, 0]);
        let types = [&pointer[..], &integer, &kind, &with_two_members, &subject].concat();
        assert_eq!(forwards(&btf(&types)).unwrap(), ["Kind", "Subject"]);
        assert!(
            forwards(&btf(&[0, 31 << 24, 0])).is_err(),
            "a kind of the future"
        );
        assert!(forwards(&btf(&types)[..60]).is_err(), "cut off");
    }

    #[test]
    fn the_object_in_the_tree_is_the_same_from_any_folder() {
        check(&std::fs::read(object()).unwrap()).unwrap();
    }
}
