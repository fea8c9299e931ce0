//! Processes begin, change their program and end, and their descriptors with them.

use socktrace_common::event::{
    ClosedBy, DescriptorsEvent, ExecEvent, ForkEvent, Header, ProcessEvent,
};

use super::{Audience, SocketTable};
use crate::{
    change::{By, Change, What},
    process::Comm,
};

impl SocketTable {
    pub(super) fn process_told(&mut self, event: &ProcessEvent) {
        let pid = event.header.tgid;
        self.begin_process(pid, event.start_ns, Comm::new(event.comm));
    }

    pub(super) fn forked(&mut self, event: &ForkEvent) {
        self.begin_process(event.child, event.start_ns, Comm::new(event.comm));
        self.processes.inherit(event.header.tgid, event.child);
        if event.shares_descriptors != 0 {
            // One table for both: whoever closes, closes for both.
            return;
        }
        for (fd, id) in self.holders.fork(event.header.tgid, event.child) {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.flags.touched = true;
                socket.holders.push(super::Holder {
                    pid: event.child,
                    fd,
                });
            }
        }
    }

    /// A process begins, or is told of. Of another that had its number the end was lost: what it
    /// held is its no more.
    fn begin_process(&mut self, pid: u32, start_ns: u64, comm: Comm) {
        if self.processes.begin(pid, start_ns, comm) {
            for (fd, id) in self.holders.release_all(pid) {
                self.unhold(id, pid, fd);
            }
        }
    }

    pub(super) fn executed(&mut self, event: &ExecEvent, audience: &mut impl Audience) {
        let process = self
            .processes
            .execute(event.header.tgid, Comm::new(event.comm));
        self.reown(&process);
        self.forget_places(process.pid);
        let released = self.holders.keep(process.pid, &event.open);
        self.let_go(&event.header, released, By::Exec, audience);
    }

    pub(super) fn exited(&mut self, header: &Header, audience: &mut impl Audience) {
        let released = self.holders.release_all(header.tgid);
        self.let_go(header, released, By::Exit, audience);
        if self.keeps_exited {
            self.processes.exit(header.tgid, header.mono_ns);
        } else {
            self.processes.forget(header.tgid);
        }
    }

    pub(super) fn descriptors_closed(
        &mut self,
        event: &DescriptorsEvent,
        audience: &mut impl Audience,
    ) {
        let by = ClosedBy::from_number(event.by).map_or(By::CloseRange, By::from);
        let released = self.holders.keep(event.header.tgid, &event.open);
        self.let_go(&event.header, released, by, audience);
    }

    /// A process lets go of several descriptors without a word about each.
    fn let_go(
        &mut self,
        header: &Header,
        released: Vec<(i32, u64)>,
        by: By,
        audience: &mut impl Audience,
    ) {
        for (fd, id) in released {
            self.unhold(id, header.tgid, fd);
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            socket.flags.touched = true;
            audience.row(&mut Change {
                mono_ns: header.mono_ns,
                socket: socket.view(),
                actor: Some(header.tgid),
                tid: Some(header.tid),
                fd: Some(fd),
                what: What::Close {
                    by,
                    // Who else holds it may be more than the calls we saw.
                    holders_left: None,
                },
            });
        }
    }
}

impl From<ClosedBy> for By {
    fn from(by: ClosedBy) -> Self {
        match by {
            ClosedBy::Close => Self::Close,
            ClosedBy::Dup => Self::Dup,
            ClosedBy::Exec => Self::Exec,
            ClosedBy::CloseRange => Self::CloseRange,
        }
    }
}
