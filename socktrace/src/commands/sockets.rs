//! `sockets`: what is open now.

use super::{stdout, tell};
use crate::{
    cli::{Sockets, SocketsFormat},
    failure::{FAILURE, Failure},
    inventory::{self, Want},
    probe::offsets,
    process::Ask,
    sink::sockets::{sort, write_json, write_table},
    source::snapshot::Protocol,
};

pub(super) fn sockets(args: &Sockets) -> Result<u8, Failure> {
    let want = want(args)?;
    let fields = args.fields.as_deref();
    if fields.is_some() && args.output == SocketsFormat::Table {
        return Err(Failure::usage("--fields picks keys of JSON: add -o json"));
    }
    let details = args.output != SocketsFormat::Table || !want.containers.is_empty();
    // Without them descriptors are read from /proc, which every user may for his own processes.
    let types = offsets::read().ok();
    let ask = if details { Ask::Details } else { Ask::Names };
    let mut listed = inventory::list(&want, types.as_ref(), ask)
        .map_err(|error| Failure::new(FAILURE, format!("sockets cannot be listed: {error}")))?;
    listed.notes.iter().for_each(tell);
    sort(&mut listed.rows);
    let mut out = stdout();
    let rows = &listed.rows;
    let written = match args.output {
        SocketsFormat::Table => write_table(&mut out, rows, args.wide),
        SocketsFormat::Json => write_json(&mut out, rows, fields, false),
        SocketsFormat::JsonPretty => write_json(&mut out, rows, fields, true),
    };
    super::quietly(written.and_then(|()| std::io::Write::flush(&mut out)))?;
    Ok(0)
}

fn want(args: &Sockets) -> Result<Want, Failure> {
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
