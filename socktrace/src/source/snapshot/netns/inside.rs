//! What can only be done from inside a namespace: settings, and iterators over its sockets.

use std::{fs, io, os::fd::AsFd as _, os::unix::fs::MetadataExt as _, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Namespace, Namespaces, Sysctls};

impl Namespaces {
    /// Runs `work` for each namespace that is `wanted`, inside it, one after the other; a namespace that cannot be
    /// entered again has the reason.
    ///
    /// On a thread of its own, which ends in the namespace that it entered last: the caller's must
    /// stay where it is.
    pub fn each_inside<T: Send>(
        &mut self,
        wanted: impl Fn(u32) -> bool + Send,
        mut work: impl FnMut(&mut Namespace) -> T + Send,
    ) -> io::Result<Vec<(u32, io::Result<T>)>> {
        let opened = &mut self.opened;
        thread::scope(|scope| {
            let helper = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, move || {
                    let mut here = fs::metadata("/proc/thread-self/ns/net")
                        .map(|own| own.ino())
                        .ok();
                    let mut done = Vec::with_capacity(opened.len());
                    // The one that we are in first: it needs no privilege.
                    opened.sort_by_key(|namespace| Some(u64::from(namespace.inum)) != here);
                    for namespace in opened.iter_mut().filter(|it| wanted(it.inum)) {
                        let inum = u64::from(namespace.inum);
                        let entered = if here == Some(inum) {
                            Ok(())
                        } else {
                            let network = Some(LinkNameSpaceType::Network);
                            move_into_link_name_space(namespace.own.as_fd(), network)
                        };
                        let result = entered.map_err(io::Error::from).map(|()| {
                            here = Some(inum);
                            work(namespace)
                        });
                        done.push((namespace.inum, result));
                    }
                    done
                })?;
            helper
                .join()
                .map_err(|_| io::Error::other("the thread that enters network namespaces panicked"))
        })
    }
}

impl Namespace {
    /// The settings of the calling thread's namespace, which is this one within
    /// [`Namespaces::each_inside`].
    pub fn sysctls(&self) -> io::Result<Sysctls> {
        Sysctls::read()
    }
}
