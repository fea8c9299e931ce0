//! The server: binds, then serves on a thread of its own.

use std::{
    io,
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime,
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use super::{
    Content, Limits, UnixPlace, activation, connection,
    crowd::Crowd,
    guard::{Entrance, Guard},
    listen, routes,
    routes::Site,
    scrape::Scrapes,
    unix,
    web_config::WebConfig,
};
use crate::{cli::Web, failure::Failure};

/// After a failed `accept`, which is a matter of descriptors or memory: time for some to come free.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that is bound, and that nobody has asked yet.
pub struct Server {
    tcp: Vec<TcpListener>,
    unix: Vec<unix::Bound>,
    config: WebConfig,
    web: Web,
    limits: Limits,
}

impl Server {
    /// Reads the web configuration and binds everything. To be called while the process has all its
    /// privileges.
    pub fn bind(web: &Web, place: Option<&UnixPlace>) -> Result<Self, Failure> {
        let config = WebConfig::read(web.config_file.as_deref())?;
        let mut sockets = Vec::new();
        let tcp = if web.systemd_socket {
            let handed = activation::take()?;
            for listener in handed.unix {
                sockets.push(unix::handed(listener)?);
            }
            for listener in &handed.tcp {
                listener.set_nonblocking(true)?;
            }
            handed.tcp
        } else {
            listen::bind(web)?
        };
        if let Some(place) = place {
            sockets.push(unix::bind(place)?);
        }
        Ok(Self {
            tcp,
            unix: sockets,
            config,
            web: web.clone(),
            limits: Limits::default(),
        })
    }

    /// With other limits than the usual ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> Vec<std::net::SocketAddr> {
        let addresses = self.tcp.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// Directories of files that may be read again at any time: a sandbox must leave them readable.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.config.directories()
    }

    /// Serves on a thread of its own, with the privileges that the caller has now.
    pub fn start<C: Content>(self, content: Arc<C>) -> io::Result<Running> {
        // They are bound, and whoever comes from now on waits for no more than the thread.
        for address in self.addresses() {
            info!(%address, "listening");
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                let until = async { drop(stopped.await) };
                runtime.block_on(self.serve(content, until));
                // Comparisons of passwords and compressions that nobody waits for any more.
                runtime.shutdown_background();
            })?;
        Ok(Running {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Serves until told to stop; then requests under way have a little time.
    pub async fn serve<C: Content>(
        self,
        content: Arc<C>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let limits = self.limits;
        let router = routes::router(Arc::new(Site {
            content,
            telemetry_path: self.web.telemetry_path.clone(),
            enable_lifecycle: self.web.enable_lifecycle,
            patience: limits.answer,
            scrapes: Scrapes::default(),
        }));
        let places = self.web.max_requests;
        let guard = Arc::new(Guard {
            router,
            config: self.config,
            places: (places > 0)
                .then(|| Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)))),
            limits,
        });
        let (close, closing) = watch::channel(false);
        // Every connection holds a sender; when none is left, all are over.
        let (alive, mut over) = mpsc::channel::<()>(1);
        let entry = Entry {
            guard,
            closing,
            alive,
        };
        let network = Crowd::new(limits.connections);
        let local = Crowd::new(limits.local_connections);
        let mut accepting = Vec::new();
        for listener in self.tcp {
            let (entry, crowd) = (entry.clone(), Arc::clone(&network));
            accepting.push(tokio::spawn(entry.tcp(listener, crowd)));
        }
        for bound in self.unix {
            let (entry, crowd) = (entry.clone(), Arc::clone(&local));
            accepting.push(tokio::spawn(entry.unix(bound, crowd)));
        }
        drop(entry);
        shutdown.await;
        for listener in &accepting {
            listener.abort();
        }
        close.send_replace(true);
        drop(timeout(limits.grace, over.recv()).await);
    }
}

/// A server that runs. Dropped, it stops.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Has its thread ended by itself? It never should.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            error!("the HTTP server ended in a panic");
        }
    }
}

/// What every new connection gets.
#[derive(Clone)]
struct Entry {
    guard: Arc<Guard>,
    closing: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

impl Entry {
    async fn tcp(self, listener: TcpListener, crowd: Arc<Crowd>) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return error!(%error, "cannot listen"),
        };
        loop {
            let (stream, _) = accepted(|| listener.accept()).await;
            // An answer is written in one go: nothing is won by waiting for more.
            drop(stream.set_nodelay(true));
            // Where the web configuration is wrong, nobody is let in; that is logged there.
            let Ok(rules) = self.guard.config.now() else {
                continue;
            };
            self.admit(stream, rules.tls.clone(), Entrance::Network, &crowd);
        }
    }

    async fn unix(self, bound: unix::Bound, crowd: Arc<Crowd>) {
        let listener = bound.listener.try_clone();
        let listener = match listener.and_then(tokio::net::UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => return error!(%error, "cannot listen on the Unix socket"),
        };
        loop {
            let (stream, _) = accepted(|| listener.accept()).await;
            let admitted = bound.members.admit(&stream);
            if let Err(why) = &admitted {
                warn!(%why, "somebody was refused at the Unix socket");
            }
            let entrance = Entrance::Local(admitted.map_err(Into::into));
            self.admit(stream, None, entrance, &crowd);
        }
    }

    fn admit<S>(
        &self,
        stream: S,
        tls: Option<Arc<rustls::ServerConfig>>,
        entrance: Entrance,
        crowd: &Arc<Crowd>,
    ) where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let Some(seat) = crowd.enter() else {
            return warn!("all connections are busy: a new one was closed");
        };
        let Self {
            guard,
            closing,
            alive,
        } = self.clone();
        tokio::spawn(async move {
            connection::serve(stream, tls, entrance, guard, seat, closing).await;
            drop(alive);
        });
    }
}

/// The next connection, however long that takes.
async fn accepted<T, F: Future<Output = io::Result<T>>>(accept: impl Fn() -> F) -> T {
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            // The client went away between its SYN and here: nothing lacks.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "no connection can be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}
