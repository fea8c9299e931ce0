//! A command to follow: it waits before its first instruction until the hooks are there.

use std::{
    ffi::OsString,
    future::pending,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child as Process, Command, ExitStatus},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::{
    descriptors,
    failure::{FAILURE, Failure, NOT_EXECUTABLE, NOT_FOUND},
};

/// A command that ends because we do has so long.
const FAREWELL: Duration = Duration::from_millis(100);

/// A command that has been forked but not begun.
pub(super) struct Child {
    pid: u32,
    /// Closed to let it go.
    gate: Option<PipeWriter>,
    /// Until that has been heard.
    ended: Option<oneshot::Receiver<io::Result<ExitStatus>>>,
    name: OsString,
    waiter: Option<JoinHandle<()>>,
}

impl Child {
    /// Forks; `None` for an empty command.
    pub(super) fn hold(command: &[OsString]) -> Result<Option<Self>, Failure> {
        let [name, arguments @ ..] = command else {
            return Ok(None);
        };
        let (gate, go) = gate(name, arguments).map_err(cannot_run(name))?;
        Ok(Some(Self {
            pid: go.pid,
            gate: Some(gate),
            ended: Some(go.ended),
            name: name.clone(),
            waiter: Some(go.waiter),
        }))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it run.
    pub(super) fn release(&mut self) {
        if let Some(mut gate) = self.gate.take() {
            // If it is gone already, its end says so.
            drop(gate.write_all(b"!"));
        }
    }

    /// Waits for its end: its status, as shells say it.
    pub(super) async fn wait(&mut self) -> io::Result<u8> {
        let Some(end) = &mut self.ended else {
            return pending().await;
        };
        let ended = end.await.map_err(io::Error::other)?;
        self.ended = None;
        match ended {
            Ok(status) => Ok(shell_status(status)),
            Err(error) => {
                let failure = cannot_run(&self.name)(error);
                super::tell(&failure);
                Ok(failure.status)
            }
        }
    }
}

/// A command that was let go and has not ended when we do goes on without us, as its work is worth
/// more than a list of its sockets: whoever asked for it is told.
impl Child {
    pub(super) async fn leave(&mut self) {
        if self.gate.is_some() || self.ended.is_none() {
            return;
        }
        // The interrupt that ends us was for both.
        if timeout(FAREWELL, self.wait()).await.is_err() {
            let name = crate::field::printable(&self.name.to_string_lossy());
            let pid = self.pid;
            super::tell(format_args!("{name} (pid {pid}) goes on without socktrace"));
        }
    }
}

/// A command that was never let go ends before us: nothing of it is left behind.
impl Drop for Child {
    fn drop(&mut self) {
        let held = self.gate.take().is_some();
        if held && let Some(waiter) = self.waiter.take() {
            // It has nothing to say that we would want to hear.
            drop(waiter.join());
        }
    }
}

/// What there is of a command that waits at the gate.
struct Held {
    pid: u32,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
    waiter: JoinHandle<()>,
}

/// Forks the command. `spawn` returns only when the command has begun (it waits to hear of a
/// failing exec), so a thread waits for that, and then for its end.
fn gate(name: &OsString, arguments: &[OsString]) -> io::Result<(PipeWriter, Held)> {
    let (mut gate_reader, gate) = io::pipe()?;
    let (mut pid_reader, mut pid_writer) = io::pipe()?;
    let mut command = Command::new(name);
    command.args(arguments);
    let inherited = gate.as_raw_fd();
    let wait = move || {
        // SAFETY: this is the child's copy of our end, which nothing in the child knows of. With
        // it open the gate would never close for the child.
        unsafe { rustix::io::close(inherited) };
        descriptors::restore()?;
        pass(&mut pid_writer, &mut gate_reader)
    };
    // SAFETY: between fork and exec the closure only closes, writes to and reads from pipes, on
    // memory that is its own, and sets a limit: no allocation, no lock.
    unsafe { command.pre_exec(wait) };
    let (tell_end, ended) = oneshot::channel();
    let waiter = std::thread::spawn(move || {
        let spawned = command.spawn();
        // The ends of the pipes that the closure holds.
        drop(command);
        let end = spawned.and_then(|mut child: Process| child.wait());
        // Nobody listens when the run stopped before the command did.
        drop(tell_end.send(end));
    });
    let mut pid = [0; 4];
    pid_reader.read_exact(&mut pid)?;
    let pid = u32::from_ne_bytes(pid);
    Ok((gate, Held { pid, ended, waiter }))
}

/// In the child: says who it is and waits. A gate that closes without a word means that nothing
/// was attached: then the command must not run.
fn pass(pid: &mut PipeWriter, gate: &mut PipeReader) -> io::Result<()> {
    pid.write_all(&std::process::id().to_ne_bytes())?;
    let mut word = [0];
    match gate.read(&mut word)? {
        0 => Err(io::Error::from_raw_os_error(125)), // ECANCELED
        _ => Ok(()),
    }
}

fn cannot_run(name: &OsString) -> impl Fn(io::Error) -> Failure {
    move |error| {
        let status = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            io::ErrorKind::PermissionDenied => NOT_EXECUTABLE,
            _ => FAILURE,
        };
        let name = crate::field::printable(&name.to_string_lossy());
        Failure::new(status, format!("{name} cannot be run: {error}"))
    }
}

fn shell_status(status: ExitStatus) -> u8 {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(i32::from(FAILURE));
    u8::try_from(number).unwrap_or(FAILURE)
}
