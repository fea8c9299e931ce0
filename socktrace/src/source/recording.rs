//! A stream of events in a file: everything above the ring buffer runs on it, without privileges.
//!
//! After the magic come frames: a tag, the length of the body in 4 bytes (little endian), the
//! body. Records are bodies as the kernel side wrote them; everything else is JSON. The last frame
//! says that it is the last, so that a file that was cut off is known as such.

mod frame;

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::frame::{AdoptedFrame, ProcessFrame};
use super::{Adopted, Item};
use crate::clock::Clock;

/// First bytes of a recording.
const MAGIC: &[u8; 8] = b"SOCKTRC\x01";
/// The longest frame that is believed.
const LONGEST: usize = 1 << 20;

const HEADER: u8 = b'H';
const RECORD: u8 = b'R';
const PROCESS: u8 = b'P';
const SNAPSHOT_BEGINS: u8 = b'B';
const ADOPTED: u8 = b'A';
const SNAPSHOT_ENDS: u8 = b'E';
const SETTLE: u8 = b'S';
const COUNTERS: u8 = b'C';
const LAST: u8 = b'Z';

/// What a recording says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `little` or `big`: records are in the byte order of the machine that made them.
    pub byte_order: String,
    /// Release of the kernel they come from.
    pub kernel: String,
    /// See [`Clock::ahead_ns`].
    ahead_ns: i128,
    /// See [`Clock::began_ns`].
    began_ns: u64,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Some other file.
    #[error("this is no recording of socktrace (record one with `socktrace record FILE`)")]
    NotOne,
    /// Made on another kind of machine.
    #[error("the recording was made on a {0}-endian machine and can only be replayed on one")]
    ByteOrder(String),
    /// It ends without saying so.
    #[error("the recording is cut off after {0} bytes; what came before was replayed")]
    Truncated(u64),
    /// A frame makes no sense.
    #[error("the recording is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset of the frame.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Writes a recording.
pub struct Writer<W: Write> {
    file: W,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    pub fn new(mut file: W, clock: &Clock) -> io::Result<Self> {
        file.write_all(MAGIC)?;
        let mut writer = Self { file };
        let header = Header {
            byte_order: byte_order().to_owned(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            ahead_ns: clock.ahead_ns,
            began_ns: clock.began_ns,
        };
        writer.json(HEADER, &header)?;
        Ok(writer)
    }

    /// Adds an item.
    pub fn write(&mut self, item: &Item<'_>) -> io::Result<()> {
        match item {
            Item::Record(bytes) => self.frame(RECORD, bytes),
            Item::Settle => self.frame(SETTLE, &[]),
            Item::Counters(counters) => self.json(COUNTERS, counters),
            Item::Adopted(adopted) => self.json(ADOPTED, &AdoptedFrame::new(adopted)),
            Item::SnapshotBegins(mono_ns) => self.json(SNAPSHOT_BEGINS, mono_ns),
            Item::SnapshotEnds { whole } => self.json(SNAPSHOT_ENDS, whole),
            Item::Process(described) => self.json(PROCESS, &ProcessFrame::new(described)),
        }
    }

    /// Ends the recording.
    pub fn finish(mut self) -> io::Result<()> {
        self.frame(LAST, &[])?;
        self.file.flush()
    }

    fn json(&mut self, tag: u8, value: &impl Serialize) -> io::Result<()> {
        let body = serde_json::to_vec(value).map_err(io::Error::other)?;
        self.frame(tag, &body)
    }

    fn frame(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.file.write_all(&[tag])?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(body)
    }
}

/// Reads a recording.
pub struct Reader<R: Read> {
    file: R,
    at: u64,
    body: Vec<u8>,
    /// The last that was read.
    adopted: Option<Adopted>,
    clock: Clock,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    pub fn new(file: R) -> Result<Self, RecordingError> {
        let mut reader = Self {
            file,
            at: 0,
            body: Vec::new(),
            adopted: None,
            clock: Clock {
                ahead_ns: 0,
                began_ns: 0,
            },
        };
        let mut magic = [0; MAGIC.len()];
        match reader.fill(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) | Err(RecordingError::Truncated(_)) => return Err(RecordingError::NotOne),
            Err(error) => return Err(error),
        }
        let (tag, at) = reader.frame()?;
        if tag != HEADER {
            return Err(damaged(at, "the header is missing"));
        }
        let header: Header = reader.json(at)?;
        if header.byte_order != byte_order() {
            return Err(RecordingError::ByteOrder(header.byte_order));
        }
        reader.clock = Clock {
            ahead_ns: header.ahead_ns,
            began_ns: header.began_ns,
        };
        Ok(reader)
    }

    /// The clock of the machine at the time.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Reads the next item; `None` after the last.
    pub fn read(&mut self) -> Result<Option<Item<'_>>, RecordingError> {
        let (tag, at) = self.frame()?;
        let item = match tag {
            RECORD => Item::Record(&self.body),
            SETTLE => Item::Settle,
            COUNTERS => Item::Counters(self.json(at)?),
            ADOPTED => {
                let frame: AdoptedFrame = self.json(at)?;
                let adopted = frame.adopted();
                let adopted = adopted.ok_or_else(|| damaged(at, "a socket that is none"))?;
                Item::Adopted(self.adopted.insert(adopted))
            }
            SNAPSHOT_BEGINS => Item::SnapshotBegins(self.json(at)?),
            SNAPSHOT_ENDS => Item::SnapshotEnds {
                whole: self.json(at)?,
            },
            PROCESS => {
                let frame: ProcessFrame = self.json(at)?;
                Item::Process(frame.described())
            }
            LAST => return Ok(None),
            tag => return Err(damaged(at, &format!("a frame of unknown kind {tag:#x}"))),
        };
        Ok(Some(item))
    }

    /// Reads a frame: its tag, and where it began.
    fn frame(&mut self) -> Result<(u8, u64), RecordingError> {
        let at = self.at;
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [tag, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(damaged(at, &format!("a frame of {length} bytes")));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length, 0);
        self.fill(&mut body)?;
        self.body = body;
        Ok((tag, at))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RecordingError> {
        match self.file.read_exact(buffer) {
            Ok(()) => {
                self.at += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(RecordingError::Truncated(self.at))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn json<T: DeserializeOwned>(&self, at: u64) -> Result<T, RecordingError> {
        serde_json::from_slice(&self.body).map_err(|error| damaged(at, &error.to_string()))
    }
}

fn damaged(at: u64, what: &str) -> RecordingError {
    RecordingError::Damaged {
        at,
        what: what.to_owned(),
    }
}

const fn byte_order() -> &'static str {
    if cfg!(target_endian = "little") {
        "little"
    } else {
        "big"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        process::{Comm, Details},
        source::Described,
    };

    const CLOCK: Clock = Clock {
        ahead_ns: 1_700_000_000_000_000_000,
        began_ns: 5,
    };

    fn recording() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &CLOCK).unwrap();
        writer.write(&Item::Record(b"some record")).unwrap();
        writer.write(&Item::Process(described())).unwrap();
        writer.write(&Item::Settle).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn described() -> Described {
        Described {
            pid: 7,
            comm: Some(Comm::from(&b"\xff\x1b"[..])),
            details: Details::default(),
        }
    }

    fn read(bytes: &[u8]) -> Result<usize, RecordingError> {
        let mut reader = Reader::new(bytes)?;
        let mut count = 0;
        while reader.read()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = recording();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.clock(), CLOCK);
        assert_eq!(reader.read().unwrap(), Some(Item::Record(b"some record")));
        assert_eq!(reader.read().unwrap(), Some(Item::Process(described())));
        assert_eq!(reader.read().unwrap(), Some(Item::Settle));
        assert_eq!(reader.read().unwrap(), None);
    }

    #[test]
    fn every_truncation_is_noticed() {
        let bytes = recording();
        for length in 0..bytes.len() {
            let error = read(&bytes[..length]).unwrap_err();
            let expected = if length < MAGIC.len() {
                matches!(error, RecordingError::NotOne)
            } else {
                matches!(error, RecordingError::Truncated(_))
            };
            assert!(expected, "{length}: {error}");
        }
    }

    #[test]
    fn another_file_is_refused() {
        assert!(matches!(
            read(b"\x7fELF and so on"),
            Err(RecordingError::NotOne)
        ));
    }

    proptest! {
        #[test]
        fn damage_never_makes_it_panic(at in 0_usize..200, byte in any::<u8>()) {
            let mut bytes = recording();
            let at = at % bytes.len();
            bytes[at] = byte;
            drop(read(&bytes));
        }
    }
}
