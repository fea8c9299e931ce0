//! What was open before the hooks were there.

use std::io;

use socktrace_common::config::{ONLY_IPV4, ONLY_IPV6};

use super::{selection::family, tell};
use crate::{
    inventory::{self, Row, Want},
    pipeline::Pipeline,
    probe::{Plan, Probes},
    source::{Item, snapshot::Protocol},
};

/// Lists sockets, hands them to the table, and has the kernel side follow those of the
/// followed processes. Between attaching and here nothing is missed: what happens meanwhile waits
/// in the ring.
pub(super) fn adopt(probes: &mut Probes, plan: &Plan, pipeline: &mut Pipeline) -> io::Result<()> {
    let want = Want {
        protocols: followed_protocols(plan),
        // As the kernel side drops what else happens there.
        local_ports: plan.local_ports.clone(),
        remote_ports: plan.remote_ports.clone(),
        family: family(
            plan.families & ONLY_IPV4 != 0,
            plan.families & ONLY_IPV6 != 0,
        ),
        ..Want::default()
    };
    let listed = match inventory::list(&want, Some(&probes.types), false) {
        Ok(listed) => listed,
        Err(error) => {
            tell(format_args!("what was open before is not known: {error}"));
            return Ok(());
        }
    };
    listed.notes.iter().for_each(tell);
    let followed = |row: &Row| match &plan.pids {
        Some(pids) => row.holders.iter().any(|it| pids.contains(&it.process.pid)),
        None => true,
    };
    let listened: Vec<_> = listed
        .rows
        .iter()
        .filter(|row| followed(row))
        .filter_map(Row::listens_at)
        .collect();
    for row in &listed.rows {
        // A child that nobody has accepted yet belongs to its listener's process in all but name.
        let waits = row.waits_at().is_some_and(|at| listened.contains(&at));
        if !followed(row) && !waits {
            continue;
        }
        let Some(adopted) = row.adopted() else {
            continue;
        };
        if plan.pids.is_some() {
            let tcp = row.found.protocol == Protocol::Tcp;
            probes.follow(adopted.socket.id, row.listens_at().filter(|_| tcp));
        }
        pipeline.take(&Item::Adopted(adopted))?;
    }
    Ok(())
}

fn followed_protocols(plan: &Plan) -> Vec<Protocol> {
    let mut all = Protocol::ALL.to_vec();
    all.retain(|protocol| plan.protocols & protocol.bit() != 0);
    all
}
