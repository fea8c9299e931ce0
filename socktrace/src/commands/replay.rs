//! `replay`: everything above the ring buffer, on a recording.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::{finish, stdout, style};
use crate::{
    cli::{
        Color, Replay,
        protocol::{lived, replayed},
    },
    failure::{FAILURE, Failure},
    pipeline::Pipeline,
    sink::Report,
    source::recording::{Reader, RecordingError},
};

pub(super) fn replay(args: &Replay, color: Color) -> Result<u8, Failure> {
    let mut select = args.select.select()?;
    let protocols = &args.select.kernel.protocols;
    select.protocols = if args.life {
        lived(protocols)
    } else {
        replayed(protocols)
    };
    select.kinds.clone_from(&args.events);
    select.states.clone_from(&args.states);
    select.pids = args.select.kernel.pids.iter().copied().collect();
    let mut reader = Reader::new(open(&args.file)?)?;
    let report_kind = if args.life {
        Report::Life
    } else {
        Report::Trace
    };
    let sink = style(&args.output, report_kind, color).sink(stdout());
    let mut pipeline = Pipeline::new(select, report_kind, Some(sink), reader.clock());
    pipeline.tells_open = !args.select.kernel.pids.is_empty();
    pipeline.tell_at_most(args.output.count.unwrap_or(u64::MAX));
    let mut cut_off = None;
    let outcome = play(&mut reader, &mut pipeline, &mut cut_off);
    let status = finish(outcome, &pipeline, 0)?;
    match cut_off {
        Some(error) => Err(error.into()),
        None => Ok(status),
    }
}

/// Plays what can be read; what cannot goes to `cut_off`, as rows that came before it count.
fn play(
    reader: &mut Reader<impl Read>,
    pipeline: &mut Pipeline,
    cut_off: &mut Option<RecordingError>,
) -> io::Result<()> {
    while !pipeline.is_full() {
        match reader.read() {
            Ok(Some(item)) => pipeline.take(&item)?,
            Ok(None) => break,
            Err(error) => {
                *cut_off = Some(error);
                break;
            }
        }
    }
    pipeline.finish(None)
}

fn open(path: &Path) -> Result<BufReader<Box<dyn Read>>, Failure> {
    let file: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let wrong = |error: io::Error| {
            let path = path.display();
            Failure::new(FAILURE, format!("{path} cannot be read: {error}"))
        };
        let file = File::open(path).map_err(wrong)?;
        // A folder can be opened, and only what comes next would fail.
        if file.metadata().map_err(wrong)?.is_dir() {
            return Err(wrong(io::ErrorKind::IsADirectory.into()));
        }
        Box::new(file)
    };
    Ok(BufReader::with_capacity(1 << 16, file))
}
