//! Records, and recordings, through everything that they go through.

use std::{cell::RefCell, io, rc::Rc, sync::Arc};

use socktrace_common::{
    event::{
        AcceptEvent, CallEvent, CloseEvent, ConnectEvent, DescriptorsEvent, DestroyEvent,
        EventKind, ExecEvent, ForkEvent, Header, LifeEvent, NameEvent, ProcessEvent, SocketEvent,
        StateEvent,
    },
    socket::SocketInfo,
};
use zerocopy::FromBytes as _;

use super::{CLOCK, outputs::Outputs};
use crate::{
    change::Change,
    clock::Clock,
    exporter::{Adder, Naming, Owners, Reading, Seen, Tally},
    pipeline::Pipeline,
    process::Details,
    select::Select,
    sink::{Report, Sink},
    source::{Adopted, Item, recording::Reader},
};

/// No table of a test is larger.
const MOST: usize = 64;

/// A recording, as `replay` reads it.
pub fn recording(bytes: &[u8]) {
    for report in [Report::Trace, Report::Life] {
        let Ok(mut reader) = Reader::new(bytes) else {
            return;
        };
        let outputs = Outputs::new(report);
        let sink = Some(outputs.sink());
        let mut pipeline = Pipeline::new(Select::default(), report, sink, reader.clock());
        pipeline.tells_open = true;
        while let Ok(Some(item)) = reader.read() {
            pipeline.take(&item).expect("memory takes everything");
        }
        pipeline.finish(None).expect("memory takes everything");
        drop(pipeline.summary_text());
        drop(pipeline);
        outputs.check();
    }
}

/// The rows of a recording.
pub(super) fn changes(bytes: &[u8]) -> Vec<Change> {
    struct Keeps(Rc<RefCell<Vec<Change>>>);
    impl Sink for Keeps {
        fn row(&mut self, change: &Change, _: &Clock) -> io::Result<()> {
            self.0.borrow_mut().push(change.clone());
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let kept = Rc::default();
    let sink = Box::new(Keeps(Rc::clone(&kept)));
    let mut pipeline = Pipeline::new(Select::default(), Report::Trace, Some(sink), CLOCK);
    let mut reader = Reader::new(bytes).expect("a recording");
    while let Ok(Some(item)) = reader.read() {
        pipeline.take(&item).expect("memory takes everything");
    }
    kept.take()
}

/// Records and snapshots, one after the other: a byte that says what comes, then that. Identities are
/// few, so that what happens concerns the same sockets.
pub fn records(mut bytes: &[u8]) {
    let tally = Rc::new(RefCell::new(Tally::new(Owners::new(
        vec![Naming::Comm],
        4,
        |_| Details::default(),
    ))));
    let sink = Box::new(Adder(Rc::clone(&tally)));
    let mut pipeline = Pipeline::new(Select::default(), Report::Trace, Some(sink), CLOCK);
    pipeline.limit(MOST);
    pipeline.tells_open = true;
    let mut records = 0;
    while let Some((&first, rest)) = bytes.split_first() {
        bytes = rest;
        records += 1;
        take(&mut pipeline, first, &mut bytes);
        let table = pipeline.table();
        assert!(table.len() <= MOST);
        assert_eq!(table.iter().count(), table.len());
        assert!(pipeline.undecodable() <= records);
    }
    for entry in pipeline.table().iter() {
        let id = entry.info().id;
        assert!(id != 0 && pipeline.table().get(id).is_some());
    }
    pipeline.finish(None).expect("memory takes everything");
    let seen = Arc::new(Seen::default());
    let now = u64::MAX / 2;
    Reading::take(now, &mut tally.borrow_mut(), pipeline.table(), &seen);
    // Two whole snapshots without a socket: nothing that they would have shown is there any more.
    // What is not listed for sure stays, and so does what is over.
    for now in [now, now + 1] {
        let items = [
            Item::SnapshotBegins(now),
            Item::SnapshotEnds { whole: true },
        ];
        for item in items {
            pipeline.take(&item).expect("memory takes everything");
        }
    }
}

fn take(pipeline: &mut Pipeline, first: u8, bytes: &mut &[u8]) {
    const SNAPSHOT: usize = 3;
    let kinds = EventKind::ALL.len();
    let item = usize::from(first) % (kinds + SNAPSHOT + 1);
    let result = if let Some(&kind) = EventKind::ALL.get(item) {
        let mut record = vec![0; size(kind)];
        fill(&mut record, bytes);
        record[16..18].copy_from_slice(&(kind as u16).to_ne_bytes());
        // The process and the socket.
        record[21..24].fill(0);
        if !matches!(kind, EventKind::Process | EventKind::Fork | EventKind::Exec) {
            record.get_mut(33..39).unwrap_or_default().fill(0);
        }
        pipeline.take(&Item::Record(&record))
    } else {
        let mut time = [0; 8];
        match item - kinds {
            0 => {
                fill(&mut time, bytes);
                pipeline.take(&Item::SnapshotBegins(u64::from_ne_bytes(time)))
            }
            1 => pipeline.take(&Item::SnapshotEnds {
                whole: first & 0x80 == 0,
            }),
            2 => {
                let mut socket = [0; size_of::<SocketInfo>()];
                fill(&mut socket, bytes);
                socket[1..7].fill(0);
                fill(&mut time, bytes);
                let at = u64::from_ne_bytes(time);
                let Ok(socket) = SocketInfo::read_from_bytes(&socket) else {
                    return;
                };
                pipeline.take(&Item::Adopted(&Adopted {
                    socket,
                    holders: [(u32::from(time[0]), i32::from(time[1]))].into(),
                    served: first & 0x80 == 0,
                    born_ns: at,
                    state_since_ns: at,
                    until_ns: (time[7] == 0xff).then_some(at),
                    name: None,
                }))
            }
            _ => pipeline.take(&Item::Settle),
        }
    };
    result.expect("memory takes everything");
}

/// Takes what there is from the front of `bytes`.
fn fill(to: &mut [u8], bytes: &mut &[u8]) {
    let length = to.len().min(bytes.len());
    let (now, later) = bytes.split_at(length);
    to[..length].copy_from_slice(now);
    *bytes = later;
}

fn size(kind: EventKind) -> usize {
    match kind {
        EventKind::Socket => size_of::<SocketEvent>(),
        EventKind::Bind | EventKind::Listen => size_of::<CallEvent>(),
        EventKind::Connect => size_of::<ConnectEvent>(),
        EventKind::Accept => size_of::<AcceptEvent>(),
        EventKind::State => size_of::<StateEvent>(),
        EventKind::Close => size_of::<CloseEvent>(),
        EventKind::Destroy => size_of::<DestroyEvent>(),
        EventKind::Process => size_of::<ProcessEvent>(),
        EventKind::Fork => size_of::<ForkEvent>(),
        EventKind::Exec => size_of::<ExecEvent>(),
        EventKind::Exit => size_of::<Header>(),
        EventKind::Descriptors => size_of::<DescriptorsEvent>(),
        EventKind::Name => size_of::<NameEvent>(),
        EventKind::Life => size_of::<LifeEvent>(),
    }
}
