//! Sockets to look at: a process that opens connections to itself and keeps them.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::util::output;

/// Connections of one process: two descriptors each, below any limit that is common.
const A_PROCESS: usize = 5_000;

/// What runs as a process of its own: opens connections, every `close_wait`th with a peer that
/// has closed already, says `ready`, and keeps them until its input ends.
pub(crate) fn hold(connections: usize, close_wait: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut held = Vec::with_capacity(2 * connections);
    for number in 0..connections {
        let client = TcpStream::connect(address)
            .with_context(|| format!("connection {number} of {connections}"))?;
        held.push(listener.accept()?.0);
        if number % close_wait != 0 {
            held.push(client);
        }
    }
    let mut out = io::stdout();
    out.write_all(b"ready\n")?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A network namespace full of connections; both are gone when it is dropped.
pub(crate) struct Full {
    name: String,
    holders: Vec<Child>,
}

impl Full {
    /// `sockets` of them, two for each connection.
    pub(crate) fn new(name: &str, sockets: usize, close_wait: usize) -> Result<Self> {
        let name = format!("{name}-{}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let mut full = Self {
            name,
            holders: Vec::new(),
        };
        output(full.command("ip").args(["link", "set", "lo", "up"]))?;
        let mut left = sockets / 2;
        while left > 0 {
            let here = left.min(A_PROCESS);
            full.start(here, close_wait)?;
            left -= here;
        }
        for holder in &mut full.holders {
            let mut said = [0; 6];
            let stdout = holder.stdout.as_mut().context("no output")?;
            stdout.read_exact(&mut said).context("a holder ended")?;
            if &said != b"ready\n" {
                bail!("a holder is not ready");
            }
        }
        Ok(full)
    }

    /// A command that runs in the namespace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.name))
            .arg(program);
        command
    }

    /// Its inode number.
    pub(crate) fn inum(&self) -> Result<String> {
        use std::os::unix::fs::MetadataExt as _;
        let file = std::fs::metadata(format!("/run/netns/{}", self.name))?;
        Ok(file.ino().to_string())
    }

    fn start(&mut self, connections: usize, close_wait: usize) -> Result<()> {
        let own = std::env::current_exe()?;
        let own = own.to_str().context("a path that is no text")?;
        let mut command = self.command(own);
        command.args(["hold", &connections.to_string(), &close_wait.to_string()]);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        self.holders.push(child);
        Ok(())
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            // End of input, at which it ends.
            drop(holder.stdin.take());
            drop(holder.wait());
        }
        drop(
            Command::new("ip")
                .args(["netns", "del", &self.name])
                .status(),
        );
    }
}
