//! Owners to tell apart: processes of different names, each with sockets of every part.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::load::Full;

/// What runs as a process of its own, under this name: a listener, a connection and a datagram socket
/// that stay, one connection that is over, one that nobody took. Says `ready`, and ends with its
/// input.
pub(crate) fn crowd(name: &str) -> Result<()> {
    fs::write("/proc/self/comm", name)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let connect = || -> io::Result<_> {
        let client = TcpStream::connect(address)?;
        Ok((client, listener.accept()?.0))
    };
    let (client, mut server) = connect()?;
    drop(client);
    drop(server.read(&mut [0]));
    drop(server);
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let refused = nobody.local_addr()?;
    drop(nobody);
    drop(TcpStream::connect(refused));
    let stays = (connect()?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    let mut out = io::stdout();
    out.write_all(b"ready\n")?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(stays);
    Ok(())
}

/// So many of them; gone when it is dropped.
pub(super) struct Crowd(Vec<Child>);

impl Crowd {
    pub(super) fn new(space: &Full, count: usize) -> Result<Self> {
        let own = std::env::current_exe()?;
        let own = own.to_str().context("a path that is no text")?;
        let mut crowd = Self(Vec::new());
        for number in 0..count {
            let mut command = space.command(own);
            command.args(["crowd", &format!("owner-{number}")]);
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut said = [0; 6];
            let stdout = child.stdout.as_mut().context("no output")?;
            let heard = stdout.read_exact(&mut said);
            crowd.0.push(child);
            heard.context("one of the crowd ended")?;
            if &said != b"ready\n" {
                bail!("one of the crowd is not ready");
            }
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // End of input, at which it ends.
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            drop(child.wait());
        }
    }
}
