//! A real Prometheus scrapes a real daemon while something is going on: every expression of the rules
//! and of the dashboards is answered, and what must have data has some.

#[path = "../../packaging/dashboard.rs"]
mod dashboard;
mod prometheus;

use self::{
    dashboard::{filled_in, panels, queries},
    prometheus::{ADDRESS, Prometheus},
};
use crate::{
    daemon::{Daemon, wait},
    support::{Dialogue, Netns, python, run},
};

const LOAD: &str = include_str!("load.py");

/// Panels that have nothing to show here.
const EMPTY: [&str; 4] = [
    // Nobody runs out of ports.
    "socktrace / Ports: Until none is left",
    // There is room for all series.
    "socktrace / Health of the tracer: Series left out",
    // The kernel counts runs of hooks only for who asks, and then all of the machine's.
    "socktrace / Health of the tracer: Time in hooks",
    "socktrace / Health of the tracer: Time of a hook's run",
];

#[test]
fn a_prometheus_that_scrapes_a_busy_machine_has_data_for_every_panel_and_every_rule() {
    let netns = Netns::new();
    let inside = format!("--net=/run/netns/{}", netns.name());
    let alerts = tempfile::tempdir().unwrap();
    let configuration = format!(
        "[metrics]\nowner = [\"comm\"]\ndestinations = 3\n[detect]\nevery = \"1s\"\nshare = 1.0\n\
         [detect.close_wait]\nshown = \"1s\"\n[alerts.file]\npath = \"{}/alerts\"\n",
        alerts.path().display()
    );
    // The load first: where looks take long they are far apart, and the first one finds it.
    let mut load = Dialogue::start(python(&netns, LOAD));
    load.hear("busy");
    let daemon = Daemon::start_under(&["nsenter", &inside], &configuration);
    let prometheus = Prometheus::start(&netns, &daemon.address());

    // Every one is asked until it has data; one that is wrong is never answered.
    for board in dashboard::all() {
        for (name, panel) in panels(&board) {
            for query in queries(panel) {
                let query = filled_in(query, "10s");
                if EMPTY.contains(&name.as_str()) {
                    prometheus.query(&query);
                    continue;
                }
                wait(&format!("{name} has no data: {query}"), || {
                    !prometheus.query(&query).is_empty()
                });
            }
        }
    }

    // What it says is so.
    let failed = |error: &str| {
        let failed = "sum(socktrace_connects_total{owner=\"checkout\", result=\"";
        prometheus.number(&format!("{failed}{error}\"}})"))
    };
    wait("failures are counted", || {
        failed("ECONNREFUSED") > 1.0 && failed("EADDRNOTAVAIL") > 1.0
    });
    let opened =
        "sum(socktrace_socket_opened_total{owner=\"checkout\", role=\"client\", proto=\"tcp\"})";
    let connects = "sum(socktrace_connects_total{owner=\"checkout\"})";
    assert!(prometheus.number(&format!("{opened} / {connects}")) > 0.9);

    // Rules: Prometheus evaluates them all, and those that record have recorded.
    wait("rules are evaluated", || {
        let rules = prometheus.rules();
        assert!(rules.len() > 30);
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule}");
        }
        rules.iter().all(|rule| rule["health"] == "ok")
    });
    for rule in prometheus.rules() {
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().unwrap();
            wait(name, || !prometheus.query(name).is_empty());
        }
    }
    // The kernel chose the ports of the server's listeners, and that is told of.
    let alert = "ALERTS{alertname=\"SocktraceListenerInEphemeralRange\", owner=\"shop\"}";
    wait("no alert", || !prometheus.query(alert).is_empty());

    // Where it leads is there.
    let page = run(netns
        .command("curl")
        .args(["-sf", &format!("http://{}/runbook", daemon.address())]));
    assert!(
        page.contains("<h2 id=\"listener_in_ephemeral_range\">"),
        "{page}"
    );

    // The program that draws the dashboards for the documents can draw them.
    for board in dashboard::all() {
        let name = board["uid"].as_str().unwrap();
        let mut draw = netns.command("python3");
        draw.arg(dashboard::folder().join("draw.py"));
        draw.arg(dashboard::folder().join(format!("{name}.json")));
        let drawn = run(draw.args([&format!("http://{ADDRESS}"), "1"]));
        assert!(
            drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"),
            "{drawn}"
        );
        assert!(drawn.contains("<polyline"), "{drawn}");
    }
    load.say("");
}
