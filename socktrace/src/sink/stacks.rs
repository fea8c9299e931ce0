//! Where sockets were opened, for people: how many, and below it the calls that led there.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use crate::{
    field::printable,
    stack::{Frame, Opening},
};

/// Calls further out than this are in the JSON.
const MOST: usize = 24;
/// Names of functions take so much room; those of C++ that take more are in the JSON.
const WIDTH: usize = 40;
const LONGEST: usize = 60;

/// Writes one place.
pub(super) fn write(out: &mut impl Write, opening: &Opening) -> io::Result<()> {
    let Opening {
        count,
        call,
        frames,
        note,
    } = opening;
    let note = note.as_deref();
    if frames.is_empty() {
        return writeln!(
            out,
            "          {count}: {}",
            note.unwrap_or("not known where")
        );
    }
    let call = call.word().unwrap_or_default();
    writeln!(out, "          {count} by {call}() in")?;
    for frame in frames.iter().take(MOST) {
        writeln!(out, "{}", line(frame).trim_end())?;
    }
    if let Some(more) = frames.len().checked_sub(MOST).filter(|more| *more > 0) {
        writeln!(out, "              … {more} more")?;
    }
    note.map_or(Ok(()), |note| writeln!(out, "              {note}"))
}

/// `serve_client+0x18                        server           server.c:18`.
fn line(frame: &Frame) -> String {
    let name = match (&frame.symbol, frame.offset) {
        (Some(symbol), Some(offset)) => format!("{}+{offset:#x}", short(symbol)),
        _ => format!("{:#x}", frame.address),
    };
    let module = frame
        .module_name()
        .map_or(Cow::Borrowed("?"), |name| printable(name).into());
    let place = frame.file.as_deref().map(|file| {
        let file = printable(file.rsplit('/').next().unwrap_or(file));
        frame
            .line
            .map_or(file.clone(), |line| format!("{file}:{line}"))
    });
    let place = place.unwrap_or_default();
    format!("              {name:<WIDTH$} {module:<16} {place}")
}

fn short(symbol: &str) -> String {
    let name = printable(symbol);
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Call;

    fn frame(symbol: &str) -> Frame {
        Frame {
            address: 0x5000,
            symbol: Some(symbol.to_owned()),
            offset: Some(0x1f),
            module: Some("/usr/bin/server".to_owned()),
            file: Some("/src/server.c".to_owned()),
            line: Some(12),
        }
    }

    fn text(opening: &Opening) -> String {
        let mut out = Vec::new();
        write(&mut out, opening).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_place_is_a_block_of_calls() {
        let bare = Frame {
            symbol: None,
            offset: None,
            module: None,
            file: None,
            line: None,
            ..frame("")
        };
        let opening = Opening {
            count: 3,
            call: Call::Accept,
            frames: vec![frame("take"), bare],
            note: Some("and so on".to_owned()),
        };
        let (text, space) = (text(&opening), " ".repeat(10));
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.strip_prefix(&space).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                "3 by accept() in",
                "    take+0x1f                                server           server.c:12",
                "    0x5000                                   ?",
                "    and so on",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_a_line() {
        let opening = Opening {
            count: 2,
            call: Call::Unseen,
            frames: Vec::new(),
            note: Some("opened before the watch began".to_owned()),
        };
        assert_eq!(
            text(&opening),
            "          2: opened before the watch began\n"
        );
    }

    #[test]
    fn names_with_all_their_arguments_are_cut() {
        assert_eq!(short("main"), "main");
        let long = format!("{}→rest", "x".repeat(LONGEST - 1));
        assert_eq!(short(&long), format!("{}→…", "x".repeat(LONGEST - 1)));
    }

    #[test]
    fn deep_stacks_are_cut_and_names_are_escaped() {
        let opening = Opening {
            count: 1,
            call: Call::Socket,
            frames: vec![frame("evil\x1b[2J"); 30],
            note: None,
        };
        let text = text(&opening);
        assert!(text.ends_with("… 6 more\n"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
}
