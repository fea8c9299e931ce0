//! `sockets`: what is open now.

use std::io::{self, Write};

use super::{stdout, tell};
use crate::{
    cli::{Sockets, SocketsFormat},
    failure::{FAILURE, Failure},
    inventory::{self, Row, Want},
    probe::offsets,
    process::Ask,
    sink::sockets::{sort, write_json, write_table},
    source::snapshot::Protocol,
};

pub(super) fn sockets(args: &Sockets) -> Result<u8, Failure> {
    let want = want(args)?;
    // Without them descriptors are read from /proc, which every user may for his own processes.
    let types = offsets::read().ok();
    let mut listed = inventory::list(&want, types.as_ref(), details(args, &want))
        .map_err(|error| Failure::new(FAILURE, format!("sockets cannot be listed: {error}")))?;
    listed.notes.iter().for_each(tell);
    let mut out = stdout();
    let written = write(args, &mut listed.rows, &mut out);
    super::quietly(written.and_then(|()| out.flush()))?;
    Ok(0)
}

/// What to ask `/proc` about processes.
pub(super) fn details(args: &Sockets, want: &Want) -> Ask {
    if args.output != SocketsFormat::Table || !want.containers.is_empty() {
        Ask::Details
    } else {
        Ask::Names
    }
}

/// Writes the rows, sorted.
pub(super) fn write(args: &Sockets, rows: &mut [Row], out: &mut impl Write) -> io::Result<()> {
    sort(rows);
    let fields = args.fields.as_deref();
    match args.output {
        SocketsFormat::Table => write_table(out, rows, args.wide),
        SocketsFormat::Json => write_json(out, rows, fields, false),
        SocketsFormat::JsonPretty => write_json(out, rows, fields, true),
    }
}

/// What is asked for.
pub(super) fn want(args: &Sockets) -> Result<Want, Failure> {
    if args.fields.is_some() && args.output == SocketsFormat::Table {
        return Err(Failure::usage("--fields picks keys of JSON: add -o json"));
    }
    let mut protocols = args.protos.clone();
    let letters = [
        (args.tcp, Protocol::Tcp),
        (args.udp, Protocol::Udp),
        (args.unix, Protocol::Unix),
    ];
    protocols.extend(
        letters
            .into_iter()
            .filter_map(|(on, protocol)| on.then_some(protocol)),
    );
    let mut states = args.states.clone();
    if args.listening {
        states.push("listen".to_owned());
    }
    Ok(Want {
        protocols,
        pids: args.pids.clone(),
        comms: args.comms.clone(),
        containers: args.containers.clone(),
        netns: super::selection::namespaces(&args.netns)?,
        family: super::selection::family(args.ipv4, args.ipv6),
        local_ports: args.local_ports.clone(),
        remote_ports: args.remote_ports.clone(),
        memory: false,
        states,
        expression: args
            .expression
            .join(" ")
            .parse()
            .map_err(|error| Failure::usage(format!("the filter is not understood: {error}")))?,
    })
}
