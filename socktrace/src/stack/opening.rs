//! A place in a program where sockets were opened.

use serde::{Serialize, Serializer};

use crate::table::Call;

/// A place in a program, and how many sockets were opened there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// So many of those that a finding counts.
    pub count: u64,
    /// By which call, where it was seen.
    #[serde(serialize_with = "word")]
    pub call: Call,
    /// The calls that led there, the innermost first. Empty where none are known.
    pub frames: Vec<Frame>,
    /// What is not known, and why.
    pub note: Option<String>,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Where the program goes on afterwards: an address of the process.
    #[serde(serialize_with = "hexadecimal")]
    pub address: u64,
    /// The function that made the call.
    pub symbol: Option<String>,
    /// How far into it that is, bytes.
    pub offset: Option<u64>,
    /// The program or library that the function is in, as the process sees its path.
    pub module: Option<String>,
    /// The function's source, where debug information is there.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

impl Frame {
    /// One of which nothing else is known.
    pub(super) fn at(address: u64) -> Self {
        Self {
            address,
            symbol: None,
            offset: None,
            module: None,
            file: None,
            line: None,
        }
    }

    /// The last part of the module's path.
    pub fn module_name(&self) -> Option<&str> {
        self.module
            .as_deref()
            .and_then(|path| path.rsplit('/').next())
    }

    /// Is it the same place in the same program? It may be at another address in another process.
    fn is_at(&self, other: &Self) -> bool {
        let named = |frame: &Self| frame.symbol.is_some() && frame.offset.is_some();
        if named(self) && named(other) {
            (&self.module, &self.symbol, self.offset)
                == (&other.module, &other.symbol, other.offset)
        } else {
            self == other
        }
    }

    /// Programs and their threads begin in libc.
    fn is_in_libc(&self) -> bool {
        const LIBC: [&str; 5] = ["libc.so", "libc-2", "libpthread", "ld-linux", "ld-musl"];
        let name = self.module_name();
        name.is_some_and(|name| LIBC.iter().any(|libc| name.starts_with(libc)))
    }

    /// Where they begin in programs that bring their libc, or have none.
    fn is_a_beginning(&self) -> bool {
        const BEGINNINGS: [&str; 8] = [
            "_start",
            "_start_c",
            "__libc_start_call_main",
            "__libc_start_main",
            "start_thread",
            "__clone",
            "__clone3",
            "runtime.goexit",
        ];
        let name = self.symbol.as_deref();
        name.is_some_and(|name| BEGINNINGS.iter().any(|it| name.starts_with(it)))
    }
}

impl Opening {
    /// Of which nothing is known but that.
    pub(super) fn unknown(count: u64, call: Call, note: impl Into<String>) -> Self {
        Self {
            count,
            call,
            frames: Vec::new(),
            note: Some(note.into()),
        }
    }

    /// The same place?
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.call, &self.note) == (other.call, &other.note)
            && self.frames.len() == other.frames.len()
            && self
                .frames
                .iter()
                .zip(&other.frames)
                .all(|(one, it)| one.is_at(it))
    }
}

/// Do the frames lead to where the program, or the thread, begins?
pub(super) fn reach_the_beginning(frames: &[Frame]) -> bool {
    let Some(last) = frames.last() else {
        return false;
    };
    let own = frames.iter().any(|frame| !frame.is_in_libc());
    last.is_a_beginning() || (own && last.is_in_libc())
}

impl Call {
    /// The word for it; `None` where none was seen.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unseen => None,
            Self::Socket => Some("socket"),
            Self::Connect => Some("connect"),
            Self::Accept => Some("accept"),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn word<S: Serializer>(call: &Call, serializer: S) -> Result<S::Ok, S::Error> {
    call.word().serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn hexadecimal<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}
