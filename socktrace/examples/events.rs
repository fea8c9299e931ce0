//! Times the user side, for `cargo xtask bench events`: records of connections, made here, through
//! decoding, table and the daemon's tally. One line of JSON: how many events, nanoseconds of CPU for
//! each, and how often memory was asked for.
//!
//! Arguments: `steps` (a record for each event) or `lives` (a record for each socket), how many
//! connections, how many of them are open at a time, and `json` or `life` for the rows of `trace -o json`
//! or of `life`, which go nowhere, instead of the tally.

#![allow(clippy::print_stdout, reason = "that is its result")]
#![allow(clippy::cast_precision_loss, reason = "a few digits are shown")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::RefCell,
    error::Error,
    io,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use socktrace::{
    clock::Clock,
    event::Event,
    exporter::{Adder, Naming, Owners, Tally},
    pipeline::Pipeline,
    process::Details,
    select::Select,
    sink::{Format, Report, Sink, Style, Times},
    source::{Item, chunk::Chunk},
    unfold::Life,
};
use socktrace_common::{
    event::{ClosedBy, EventKind, LifeEvent, ProcessEvent, STEPS, Step},
    socket::{
        FAMILY_IPV4, PROTO_TCP, SocketInfo,
        TcpState::{
            self, Close, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv,
            SynSent,
        },
    },
};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Processes, each with a client's and a server's end of its connections.
const PROCESSES: u32 = 50;

/// Bytes of the ring, and how many records about are copied from it at once (`source/ringbuf.rs`).
const RING: usize = 4 << 20;
const A_CHUNK: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folded = match arguments.next().as_deref() {
        Some("steps") => false,
        Some("lives") => true,
        _ => return Err("steps or lives".into()),
    };
    let connections: u64 = arguments.next().ok_or("how many connections?")?.parse()?;
    let open: u64 = arguments.next().ok_or("how many at a time?")?.parse()?;

    let rows = |format, report| {
        let style = Style {
            format,
            report,
            fields: None,
            times: Times::None,
            wide: false,
            color: false,
        };
        (style.sink(io::sink()), report)
    };
    let (sink, report): (Box<dyn Sink>, _) = match arguments.next().as_deref() {
        None => {
            let naming = vec![Naming::Comm];
            let tally = Tally::new(Owners::new(naming, 100, |_| Details::default()));
            (Box::new(Adder(Rc::new(RefCell::new(tally)))), Report::Trace)
        }
        Some("json") => rows(Format::Json, Report::Trace),
        Some("life") => rows(Format::Table, Report::Life),
        Some(other) => return Err(format!("{other}: json, or life").into()),
    };
    let pipeline = Pipeline::new(Select::default(), report, Some(sink), Clock::now());
    let mut records = Records {
        ring: Chunk::default(),
        seq: 0,
        now: 1_000_000_000,
        reader: Reader {
            pipeline,
            chunk: Chunk::default(),
            cpu: 0.0,
            asked: 0,
        },
    };
    for pid in 1..=PROCESSES {
        records.process(pid)?;
    }
    // The first batch fills what grows.
    let batch = open.max(1);
    records.connections(folded, 0, batch)?;
    (records.reader.cpu, records.reader.asked) = (0.0, 0);
    let (mut events, mut done) = (0, 0);
    while done < connections {
        done += batch;
        events += records.connections(folded, done, batch)?;
    }
    let reader = records.reader;
    if reader.pipeline.undecodable() > 0 || !reader.pipeline.table().is_empty() {
        return Err("the records make no sense".into());
    }
    println!(
        "{}",
        json!({
            "events": events,
            "ns_each": reader.cpu / events as f64,
            "allocations": reader.asked,
        })
    );
    Ok(())
}

/// Takes records as they are taken from the ring, and says what that costs.
struct Reader {
    pipeline: Pipeline,
    chunk: Chunk,
    cpu: f64,
    asked: u64,
}

impl Reader {
    fn drain(&mut self, ring: &Chunk) -> io::Result<()> {
        let (before, memory) = (cpu_ns(), ASKED.load(Relaxed));
        let mut records = ring.records().peekable();
        while records.peek().is_some() {
            self.chunk.clear();
            for record in records.by_ref().take(A_CHUNK) {
                self.chunk.push(record);
            }
            self.pipeline.take_records(&self.chunk)?;
        }
        self.pipeline.take(&Item::Settle)?;
        self.cpu += cpu_ns() - before;
        self.asked += ASKED.load(Relaxed) - memory;
        Ok(())
    }
}

/// Records, as the ring would have them.
struct Records {
    ring: Chunk,
    seq: u64,
    now: u64,
    reader: Reader,
}

impl Records {
    /// Into the ring, which is emptied when it is full.
    fn push(&mut self, record: &mut [u8]) -> io::Result<()> {
        record[8..16].copy_from_slice(&self.seq.to_ne_bytes());
        self.seq += 1;
        self.ring.push(record);
        if self.ring.bytes() < RING {
            return Ok(());
        }
        self.drain()
    }

    fn drain(&mut self) -> io::Result<()> {
        self.reader.drain(&self.ring)?;
        self.ring.clear();
        Ok(())
    }

    fn process(&mut self, pid: u32) -> io::Result<()> {
        let mut event = ProcessEvent::new_zeroed();
        event.header.kind = EventKind::Process as u16;
        (event.header.mono_ns, event.header.tgid) = (self.now, pid);
        event.start_ns = u64::from(pid);
        event.comm[..4].copy_from_slice(format!("p{pid:03}").as_bytes());
        self.push(event.as_mut_bytes())
    }

    /// All of this batch begin before any of them ends. How many events.
    fn connections(&mut self, folded: bool, from: u64, count: u64) -> io::Result<u64> {
        let lives =
            (from..from + count).flat_map(|number| [client(number, count), server(number, count)]);
        let mut lives: Vec<LifeEvent> = lives.collect();
        let mut events = 0;
        if folded {
            for life in &mut lives {
                life.began_ns = self.now;
                for (at, step) in (0..).zip(&mut life.steps[..]) {
                    step.after_ns = at * 100;
                }
                self.now += 1_000;
                life.header.mono_ns = self.now;
                events += life.count;
                self.push(life.as_mut_bytes())?;
            }
            self.drain()?;
            return Ok(events);
        }
        for at in 0..STEPS {
            for life in &mut lives {
                if at as u64 >= life.count {
                    continue;
                }
                self.now += 100;
                life.began_ns = self.now;
                let Ok(told) = Life::new(life) else { continue };
                let Some(event) = told.events(at).next() else {
                    continue;
                };
                match event {
                    Event::Socket(mut it) => self.push(it.as_mut_bytes())?,
                    Event::State(mut it) => self.push(it.as_mut_bytes())?,
                    Event::Connect(mut it) => self.push(it.as_mut_bytes())?,
                    Event::Accept(mut it) => self.push(it.as_mut_bytes())?,
                    Event::Close(mut it) => self.push(it.as_mut_bytes())?,
                    Event::Destroy(mut it) => self.push(it.as_mut_bytes())?,
                    _ => continue,
                }
                events += 1;
            }
        }
        self.drain()?;
        Ok(events)
    }
}

fn client(number: u64, open: u64) -> LifeEvent {
    let ports = [port(number), 80];
    life(
        number,
        2 * number + 1,
        descriptor(number, open, 0),
        ports,
        &[
            (EventKind::Socket, 1, [Close, Close]),
            (EventKind::State, 0, [Close, SynSent]),
            (EventKind::State, 0, [SynSent, Established]),
            (EventKind::Connect, 0, [Close, Close]),
            (EventKind::Close, 0, [Close, Close]),
            (EventKind::State, 0, [Established, FinWait1]),
            (EventKind::State, 0, [FinWait1, FinWait2]),
            (EventKind::State, 0, [FinWait2, Close]),
            (EventKind::Destroy, 0, [Close, Close]),
        ],
    )
}

fn server(number: u64, open: u64) -> LifeEvent {
    let ports = [80, port(number)];
    life(
        number,
        2 * number + 2,
        descriptor(number, open, 1),
        ports,
        &[
            (EventKind::State, 0, [Listen, SynRecv]),
            (EventKind::State, 0, [SynRecv, Established]),
            (EventKind::Accept, 0, [Close, Close]),
            (EventKind::State, 0, [Established, CloseWait]),
            (EventKind::Close, 0, [Close, Close]),
            (EventKind::State, 0, [CloseWait, LastAck]),
            (EventKind::State, 0, [LastAck, Close]),
            (EventKind::Destroy, 0, [Close, Close]),
        ],
    )
}

fn port(number: u64) -> u16 {
    u16::try_from(32_768 + number % 28_232).unwrap_or_default()
}

/// A process has the lowest that are free.
fn descriptor(number: u64, open: u64, end: u64) -> i32 {
    let processes = u64::from(PROCESSES);
    let turn = number / processes % open.div_ceil(processes);
    i32::try_from(3 + 2 * turn + end).unwrap_or_default()
}

fn life(
    number: u64,
    id: u64,
    fd: i32,
    [lport, rport]: [u16; 2],
    steps: &[(EventKind, i16, [TcpState; 2])],
) -> LifeEvent {
    let mut life = LifeEvent::new_zeroed();
    life.header.kind = EventKind::Life as u16;
    life.socket = SocketInfo {
        id,
        laddr: [127; 16],
        raddr: [127; 16],
        lport,
        rport,
        proto: PROTO_TCP,
        family: FAMILY_IPV4,
        netns: 4_026_531_840,
        ..SocketInfo::new_zeroed()
    };
    life.count = steps.len() as u64;
    let tgid = u32::try_from(number % u64::from(PROCESSES)).unwrap_or_default() + 1;
    for (step, &(kind, value, [old, new])) in life.steps.iter_mut().zip(steps) {
        *step = Step {
            after_ns: 0,
            tgid,
            fd: if kind == EventKind::State { -1 } else { fd },
            value,
            kind: kind as u8,
            states: match kind {
                EventKind::Close => ClosedBy::Close as u8,
                _ => old as u8 | (new as u8) << 4,
            },
        };
    }
    life
}

/// CPU time of this process, nanoseconds.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Counts how often memory is asked for.
struct Counting;

static ASKED: AtomicU64 = AtomicU64::new(0);

// SAFETY: it is the system's allocator, with a count beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
