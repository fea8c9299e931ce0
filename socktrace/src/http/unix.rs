//! The Unix socket that the other commands ask.
//!
//! Who may: root, the daemon's own user, and members of its group. The kernel checks it when somebody
//! connects (the file's mode is 0660). It is checked again here by what the kernel says of the peer at
//! that moment (`SO_PEERCRED`, `SO_PEERGROUPS`), for the case that somebody has widened the mode.

use std::{
    fs, io,
    os::{
        fd::AsFd as _,
        linux::fs::MetadataExt as _,
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _, chown},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{net::sockopt, process};
use tracing::warn;

use super::peer;
use crate::failure::{FAILURE, Failure, PRIVILEGES};

/// Where the socket is to be.
#[derive(Clone, Debug)]
pub struct UnixPlace {
    /// Its path.
    pub path: PathBuf,
    /// The group that may use it, besides root; where there is none of this name, root alone.
    pub group: String,
}

/// The socket, and who may use it.
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    pub(super) members: Members,
    /// The file, to be removed at the end.
    file: Option<(PathBuf, u64)>,
}

/// Who may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members {
    own: u32,
    group: Option<u32>,
}

impl Members {
    /// May whoever is at the other end? If not, why.
    pub(super) fn admit(self, stream: &tokio::net::UnixStream) -> Result<(), String> {
        let peer = sockopt::socket_peercred(stream).map_err(|error| error.to_string())?;
        let (user, group) = (peer.uid.as_raw(), peer.gid.as_raw());
        if user == 0 || user == self.own || self.group == Some(group) {
            return Ok(());
        }
        let groups = peer::groups(stream.as_fd()).map_err(|error| error.to_string())?;
        match self.group {
            Some(group) if groups.contains(&group) => Ok(()),
            _ => Err(format!(
                "user {user} is not allowed here: only root, user {} and the socket's group are",
                self.own
            )),
        }
    }
}

/// Makes the socket. A file that is there is replaced if it is a socket on which nobody listens.
pub(super) fn bind(place: &UnixPlace) -> Result<Bound, Failure> {
    let path = &place.path;
    let failed = |error: io::Error| {
        let (status, remedy) = match error.kind() {
            io::ErrorKind::NotFound => (FAILURE, "its directory is not there; make it first"),
            io::ErrorKind::PermissionDenied => {
                (PRIVILEGES, "this user may not write to its directory")
            }
            _ => (FAILURE, "choose another path"),
        };
        let path = path.display();
        Failure::new(
            status,
            format!("cannot listen on {path}: {error}\n  {remedy}"),
        )
    };
    make_room(path)?;
    // Under another name until it is as it should be: who finds it finds it whole, and the one that
    // was there is replaced in one step.
    let mut draft = path.clone().into_os_string();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let own = process::geteuid().as_raw();
    let made = (|| {
        let listener = UnixListener::bind(&draft)?;
        listener.set_nonblocking(true)?;
        let group = share(&draft, &place.group);
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o660))?;
        fs::rename(&draft, path)?;
        let inode = fs::symlink_metadata(path)?.st_ino();
        Ok(Bound {
            listener,
            members: Members { own, group },
            file: Some((path.clone(), inode)),
        })
    })();
    made.map_err(|error| {
        // What is left of it is in nobody's way, but of no use either.
        drop(fs::remove_file(&draft));
        failed(error)
    })
}

/// One that systemd made: its file and its group are systemd's matter.
pub(super) fn handed(listener: UnixListener) -> io::Result<Bound> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let group = address
        .as_pathname()
        .and_then(|path| fs::metadata(path).ok());
    Ok(Bound {
        listener,
        members: Members {
            own: process::geteuid().as_raw(),
            group: group.map(|file| file.st_gid()),
        },
        file: None,
    })
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.file {
            // Only if it is still ours: another daemon may have come meanwhile.
            if fs::symlink_metadata(path).is_ok_and(|file| file.st_ino() == *inode) {
                drop(fs::remove_file(path));
            }
        }
    }
}

/// Is the path free, or a socket that nobody listens on?
fn make_room(path: &Path) -> Result<(), Failure> {
    let taken = |what: &str| {
        let path = path.display();
        Err(Failure::new(
            FAILURE,
            format!("cannot listen on {path}: {what}"),
        ))
    };
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(file) if !file.file_type().is_socket() => taken("there is a file that is no socket"),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => {
                taken("another socktrace listens there\n  stop it first, or choose another path")
            }
            Err(_) => Ok(()),
        },
    }
}

/// Gives the file to the group; its number, if that worked.
fn share(path: &Path, name: &str) -> Option<u32> {
    let Some(group) = peer::group_named(name) else {
        warn!(
            group = name,
            "there is no such group: only root and this user may use the Unix socket"
        );
        return None;
    };
    // A service whose group it is has given it already, and may not call chown().
    if fs::metadata(path).is_ok_and(|file| file.st_gid() == group) {
        return Some(group);
    }
    match chown(path, None, Some(group)) {
        Ok(()) => Some(group),
        Err(error) => {
            warn!(group = name, %error, "the Unix socket cannot be given to its group: only root and this user may use it");
            None
        }
    }
}
