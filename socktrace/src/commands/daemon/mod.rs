//! `daemon`: watches for as long as the machine runs, and answers.
//!
//! Three threads: the loop, which owns the table; the one that takes snapshots, which may look
//! everywhere; and the one that serves, which may nothing but ask the loop.

mod answers;
mod hooks;
mod keeper;
mod memory;
mod privileges;
mod published;
mod runbook;
mod site;

use std::{
    cell::RefCell,
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::mpsc::unbounded_channel;
use tracing::warn;

pub(super) use self::hooks::Hook;
use self::{
    keeper::{Front, Keeper},
    memory::Memory,
    published::Published,
    site::Site,
};
use super::{filter::Filter, footprint, live, watch::Watcher};
use crate::{
    alert::Alerts,
    cli::{Daemon, Live},
    clock::Clock,
    detect::Story,
    exporter::Exporter,
    failure::{FAILURE, Failure},
    http::{Server, UnixPlace},
    logging,
    probe::{AttachMode, Plan},
    process::Ask,
    sandbox::{Files, folders},
    settings::Configuration,
    source::snapshot::Protocol,
};

/// What it follows event by event: everything that ends with an event. Of Unix sockets snapshots
/// tell; they come and go by the thousand on some machines.
const FOLLOWED: [Protocol; 5] = [
    Protocol::Tcp,
    Protocol::Mptcp,
    Protocol::Udp,
    Protocol::UdpLite,
    Protocol::Raw,
];

pub(super) fn daemon(args: &Daemon) -> Result<u8, Failure> {
    footprint::share_heap();
    logging::start(&args.log)?;
    let configuration = Configuration::read(args.configuration.as_deref())?;
    let place = UnixPlace {
        path: args.socket.clone(),
        group: args.socket_group.clone(),
    };
    let server = Server::bind(&args.web, Some(&place))?;
    let files = served_with(&server, &args.socket);
    let every = configuration.detect.every.0.max(Duration::from_secs(1));
    let complain = |message: &str| warn!("{message}");
    let settings = &configuration.alerts;
    let alerts = privileges::without(|| Alerts::new(settings, complain))?;
    let alerts = Rc::new(RefCell::new(alerts));
    let hear = {
        let (alerts, clock) = (Rc::clone(&alerts), Clock::now());
        Box::new(move |news, story: &Story| {
            alerts.borrow_mut().tell(news, story, &clock);
            Ok(())
        })
    };
    let watcher = Watcher::new(&configuration.detect, every, Filter::default(), hear);
    let (ask, asked) = unbounded_channel();
    let published = Arc::new(Mutex::new(Arc::new(Published::default())));
    let exporter = Exporter::new(&configuration.metrics)
        .map_err(|error| Failure::new(FAILURE, format!("metrics cannot be made: {error}")))?;
    let site = Arc::new(Site::new(ask, exporter, Arc::clone(&published)));
    let memory = Memory::open(args.state_directory.as_deref());
    let mut plan = Plan::watching(&FOLLOWED, configuration.daemon.ring_size * 1024).folded();
    plan.hooks = args.hooks;
    let live = Live {
        duration: None,
        ring_size: configuration.daemon.ring_size,
        backlog_size: 0,
        reconcile: every,
        max_sockets: configuration.daemon.max_sockets,
        hooks: args.hooks,
        attach: AttachMode::Auto,
        kernel_log: false,
    };
    let front = Front {
        server,
        files,
        site,
        published,
        questions: asked,
        config_file: args.configuration.clone(),
    };
    let mut keeper = Keeper::new(watcher, configuration, alerts, front, memory);
    let sink = keeper.sink();
    let status = live::watch(plan, &live, Ask::Families, sink, &mut keeper)?;
    keeper.stop();
    Ok(status)
}

/// The files of the thread that serves: the web configuration and what it names, its own numbers in
/// `/proc`, the time zone, and its socket, which it removes at the end.
fn served_with(server: &Server, socket: &Path) -> Files {
    let files = Files::default().reading(server.directories());
    let files = files.reading(["/proc", "/etc/localtime", "/usr/share/zoneinfo"]);
    files.removing(folders(socket))
}
