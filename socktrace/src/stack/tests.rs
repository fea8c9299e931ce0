//! Places looked up in the process that runs the tests.

use socktrace_common::{
    event::{EventKind, Header, SocketEvent},
    socket::{FAMILY_IPV4, PROTO_TCP, SocketInfo},
    stack::{NoStack, Stack},
};
use zerocopy::FromZeros as _;

use super::{Opening, Places};
use crate::{
    event::Event,
    process::Process,
    table::{Call, Opened, SocketTable},
};

/// What a socket is opened by that this process made, where its record says so.
fn opened(stack: u32) -> Opened {
    let mut table = SocketTable::default();
    let socket = SocketInfo {
        id: 1,
        family: FAMILY_IPV4,
        proto: PROTO_TCP,
        ..SocketInfo::new_zeroed()
    };
    let event = SocketEvent {
        header: Header {
            kind: EventKind::Socket as u16,
            tgid: std::process::id(),
            stack,
            ..Header::new_zeroed()
        },
        socket,
        fd: 3,
        ..SocketEvent::new_zeroed()
    };
    table.apply(&Event::Socket(event), &mut Vec::new());
    table.get(1).unwrap().opened()
}

fn stack(frames: &[u64]) -> Stack {
    let mut stack = Stack::new_zeroed();
    stack.frames[..frames.len()].copy_from_slice(frames);
    stack.length = u32::try_from(frames.len()).unwrap();
    stack
}

fn here() -> u64 {
    // What a call within it would return to.
    here as *const () as u64 + 1
}

fn notes(openings: &[Opening]) -> Vec<(u64, &str)> {
    let note = |it: &Opening| it.note.as_deref().unwrap_or_default().to_owned();
    openings
        .iter()
        .map(|it| (it.count, note(it).leak() as &str))
        .collect()
}

#[test]
fn functions_of_a_live_process_have_names_and_a_broken_chain_says_so() {
    let mut places = Places::new(|_| Some(stack(&[here(), 5, here()])));
    let process = Process::new(std::process::id());
    let found = places.look_up(&[(opened(100), 3)], Some(&process));
    let [opening] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((opening.count, opening.call), (3, Call::Socket));
    let [frame] = &opening.frames[..] else {
        panic!("{opening:?}")
    };
    let symbol = frame.symbol.as_deref().unwrap();
    assert!(symbol.contains("stack::tests::here"), "{frame:?}");
    assert_eq!(frame.offset, Some(1));
    let note = "frame pointers are missing: the stack ends after 1 frame";
    assert_eq!(opening.note.as_deref(), Some(note));
}

#[test]
fn the_same_place_is_told_once_and_the_unknown_comes_last() {
    let mut places = Places::new(|key| match key {
        100 | 101 => Some(stack(&[here()])),
        102 => Some(stack(&[here() + 1])),
        _ => None,
    });
    let process = Process::new(std::process::id());
    let opened = [
        (Opened::default(), 50),
        (opened(NoStack::Full as u32), 40),
        (opened(100), 1),
        (opened(101), 1),
        (opened(102), 3),
        (opened(200), 20),
    ];
    let found = places.look_up(&opened, Some(&process));
    let broken = "frame pointers are missing: the stack ends after 1 frame";
    assert_eq!(
        notes(&found),
        [
            (3, broken),
            (2, broken),
            (50, "opened before the watch began"),
            (40, "there was no room for their stacks (--max-stacks)"),
            (20, "their stack was not kept"),
        ]
    );
}

#[test]
fn of_a_process_that_is_gone_there_are_addresses() {
    let mut places = Places::new(|_| Some(stack(&[here(), 0x7000])));
    // No process has that number: it is above every limit.
    let gone = Process::new(u32::MAX / 2);
    // Another one has its number now.
    let another = Process {
        start_ns: Some(1),
        ..Process::new(std::process::id())
    };
    for process in [gone, another] {
        let found = places.look_up(&[(opened(100), 1)], Some(&process));
        let addresses: Vec<_> = found[0].frames.iter().map(|it| it.address).collect();
        assert_eq!(addresses, [here(), 0x7000]);
        assert!(
            found[0]
                .frames
                .iter()
                .all(|it| it.symbol.is_none() && it.module.is_none())
        );
        assert_eq!(notes(&found), [(1, "the process is gone: addresses only")]);
    }
}

#[test]
fn more_places_than_anybody_reads_are_counted() {
    let mut places = Places::new(|_| None);
    let opened: Vec<_> = (0..150).map(|key| (opened(100 + key), 2)).collect();
    let found = places.look_up(&opened, None);
    let last = found.last().unwrap();
    assert_eq!(last.note.as_deref(), Some("in 50 other places"));
    assert_eq!(found.iter().map(|it| it.count).sum::<u64>(), 300);
}
