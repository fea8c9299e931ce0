#!/usr/bin/env python3
"""Writes the dashboards beside it, or into the folder that it is given.

What they have in common is said once in `parts.py`; here is what they show, the most important first. A test
writes them again and compares.
"""

import json
import pathlib
import sys

from parts import dashboard, last, lines, part_of, quantiles, stat, table

ALL = 'job=~"$job", instance=~"$instance"'
OWNED = ALL + ', owner=~"$owner"'


def rate(metric, labels=ALL, by=""):
    return f"sum{by and f' by ({by}) '}(rate({metric}{{{labels}}}[$__rate_interval]))"


def zero(expression):
    """What is nothing where socktrace runs is 0, and where it does not there is no data."""
    return f"{expression} or sum(0 * socktrace_tracked_sockets{{{ALL}}})"


def failed(labels):
    """Where none has ever failed there is no series of failures: that is 0, too."""
    failures, all = (rate("socktrace_connects_total", it) for it in (labels + ', result!="ok"', labels))
    return part_of(f"{failures} or 0 * {all}", all)


def findings(labels):
    return table(
        "What stands",
        "Findings and how many there are; info is bounded or explained. The runbook of the kind says what to do: /runbook of the instance.",
        f"sum by (severity, kind, owner, instance) (socktrace_findings{{{labels}}}) > 0",
        ["severity", "kind", "owner", "instance"],
    )


def connects_that_fail(labels):
    return stat("Connects that fail", "The part of the outcomes of connect() that are errors.", "percentunit", failed(labels), yellow=0.01, red=0.1)


def worst_ports():
    return stat(
        "Worst use of local ports",
        "The part of its local ports that the worst destination of any namespace has used up.",
        "percentunit",
        f"max(socktrace_ephemeral_ports_used_ratio{{{ALL}}})",
        yellow=0.7,
        red=0.9,
    )


def by_state(labels):
    return lines(
        "TCP sockets by state",
        "Open TCP sockets. CLOSE_WAIT that only grows is a leak; time_wait are ports of connections that are over.",
        "short",
        (f'sum by (state) (socktrace_sockets{{{labels}, proto="tcp"}}) > 0', "{{state}}"),
        stacked=True,
    )


OVERVIEW = dashboard(
    "socktrace-overview",
    "socktrace / Overview",
    "Is there a leak, is a limit near, do connects fail, and whose are they?",
    [
        stat("Findings", "What stands and is no mere information: leaks and limits.", "short",
             zero(f'sum(socktrace_findings{{{ALL}, severity!="info"}})'), red=1),
        worst_ports(),
        stat("Worst use of descriptors", "The part of its limit of open files that the worst process uses.", "percentunit",
             f"max(socktrace_fd_limit_used_ratio{{{ALL}}})", yellow=0.7, red=0.9),
        connects_that_fail(ALL),
        stat("Oldest CLOSE_WAIT", "Since when the peer of a connection has closed, and its owner has not.", "s",
             zero(f"max(socktrace_close_wait_oldest_seconds{{{ALL}}})"), yellow=60, red=3600),
        stat("Events lost", "In the last hour. After a loss a snapshot repairs what is known of open sockets; counts stay short.", "short",
             f"sum(increase(socktrace_events_lost_total{{{ALL}}}[1h]))", yellow=1),
        findings(ALL),
        by_state(ALL),
        last("Open sockets by owner", "The ten owners that have the most, of all protocols, without TIME_WAIT.", "short",
             f'topk(10, sum by (owner) (socktrace_sockets{{{ALL}, state!="time_wait"}}))', "{{owner}}"),
        lines("Connects that fail", "Outcomes of connect() that are errors, by owner and errno. ECONNREFUSED: nobody listens; ETIMEDOUT: nobody answers; EADDRNOTAVAIL: no local port is left.", "cps",
              (rate("socktrace_connects_total", ALL + ', result!="ok"', "owner, result") + " > 0", "{{owner}} {{result}}")),
        lines("Connects and accepts", "Connections that were asked for, whatever came of it, and that were accepted, by owner.", "cps",
              (f'topk(10, {rate("socktrace_connects_total", by="owner")})', "{{owner}} connects"),
              (f'topk(10, {rate("socktrace_accepts_total", by="owner")})', "{{owner}} accepts")),
        quantiles("Time to connect", "From connect() to the established connection: half, and 99 of 100, were faster.", "socktrace_connect_duration_seconds"),
        quantiles("Time in accept queues", "How long connections waited to be accepted: half, and 99 of 100, waited less.", "socktrace_accept_queue_seconds"),
        lines("Oldest CLOSE_WAIT by owner", "Since when the peer of the oldest connection in CLOSE_WAIT has closed. A line that rises as time goes by is a leak.", "s",
              (f"max by (owner) (socktrace_close_wait_oldest_seconds{{{ALL}}}) > 0", "{{owner}}")),
        lines("How full accept queues are", "Connections that wait to be accepted, as a part of those that may wait. At 1 connections are dropped.", "percentunit",
              (f"topk(10, max by (owner, port) (socktrace_accept_queue_length{{{ALL}}} / (socktrace_accept_queue_limit{{{ALL}}} > 0)))", "{{owner}} :{{port}}"), most=1),
    ],
)

OWNER = dashboard(
    "socktrace-owner",
    "socktrace / Owner",
    "One unit, container or program: what it has open, what it connects to in vain, and what it leaks.",
    [
        stat("Findings", "What stands of this owner and is no mere information.", "short",
             zero(f'sum(socktrace_findings{{{OWNED}, severity!="info"}})'), red=1),
        stat("Worst use of descriptors", "The part of its limit of open files that the worst process of the owner uses.", "percentunit",
             f"max(socktrace_fd_limit_used_ratio{{{OWNED}}})", yellow=0.7, red=0.9),
        stat("In CLOSE_WAIT", "Connections that the peer has closed, and the owner has not.", "short",
             f'sum(socktrace_sockets{{{OWNED}, state="close_wait"}})', yellow=1),
        connects_that_fail(OWNED),
        stat("Open sockets", "Of all protocols, without TIME_WAIT.", "short", f'sum(socktrace_sockets{{{OWNED}, state!="time_wait"}})'),
        stat("Open descriptors", "Of whatever kind: files, too.", "short", f"sum(socktrace_open_fds{{{OWNED}}})"),
        findings(OWNED),
        by_state(OWNED),
        lines("Sockets by protocol", "Open sockets, without TIME_WAIT.", "short",
              (f'sum by (proto) (socktrace_sockets{{{OWNED}, state!="time_wait"}}) > 0', "{{proto}}"), stacked=True),
        lines("Connects by outcome", "Outcomes of connect(): ok, or the errno.", "cps", (rate("socktrace_connects_total", OWNED, "result"), "{{result}}")),
        lines("Sockets that take a part", "Sockets that connect, are accepted or listen; unknown are those that ended without.", "cps",
              (rate("socktrace_socket_opened_total", OWNED, "proto, role") + " > 0", "{{proto}} {{role}}")),
        lines("Sockets that end", "And why. Resets and timeouts are connections that somebody gave up.", "cps",
              (rate("socktrace_socket_ended_total", OWNED, "proto, role, reason") + " > 0", "{{proto}} {{role}} {{reason}}")),
        lines("Oldest CLOSE_WAIT", "Since when the peer of the oldest connection in CLOSE_WAIT has closed.", "s",
              (f"max by (owner) (socktrace_close_wait_oldest_seconds{{{OWNED}}})", "{{owner}}")),
        lines("Descriptors", "Open descriptors over the processes of the owner.", "short", (f"sum by (owner) (socktrace_open_fds{{{OWNED}}})", "{{owner}}")),
        lines("Waiting to be accepted", "Connections in the accept queues of its listeners, and how many may wait.", "short",
              (f"max by (owner, port) (socktrace_accept_queue_length{{{OWNED}}})", "{{owner}} :{{port}}"),
              (f"max by (owner, port) (socktrace_accept_queue_limit{{{OWNED}}})", "{{owner}} :{{port}} limit")),
        lines("Dropped for want of room", "Connections that its listeners dropped, and calls that found no local port.", "cps",
              (rate("socktrace_accept_queue_drops_total", OWNED, "owner, port"), "{{owner}} :{{port}}"),
              (rate("socktrace_ephemeral_port_failures_total", OWNED, "owner, call, error"), "{{owner}} {{call}} {{error}}")),
    ],
    owner=True,
)

PORTS = dashboard(
    "socktrace-ports",
    "socktrace / Ports",
    "How many local ports are left, until when, and who has them.",
    [
        worst_ports(),
        stat("Until none is left", "For the destination that is worst off, if it goes on like this.", "s",
             f"min(socktrace_ephemeral_ports_exhaustion_seconds{{{ALL}}}) < inf", below={3600: "yellow", 600: "red"}, none="not in sight"),
        stat("Calls without a port", "In the last hour: connect() or bind() failed because no local port was left.", "short",
             zero(f"sum(increase(socktrace_ephemeral_port_failures_total{{{ALL}}}[1h]))"), red=1),
        stat("Fewest ports", "Local ports that the kernel may choose, in the namespace that has the fewest.", "short", f"min(socktrace_ephemeral_ports{{{ALL}}})"),
        stat("In TIME_WAIT", "Ports kept by connections that are over.", "short", f'sum(socktrace_sockets{{{ALL}, state="time_wait"}})'),
        stat("Connects", "Connections that are asked for, whatever comes of it.", "cps", rate("socktrace_connects_total")),
        lines("Use of local ports", "The part of its local ports that the worst destination has used up, by network namespace.", "percentunit",
              (f"topk(10, max by (instance, netns, proto) (socktrace_ephemeral_ports_used_ratio{{{ALL}}}))", "{{instance}} {{netns}} {{proto}}"), most=1),
        lines("Until none is left", "Where it goes on like this; nothing where it does not.", "s",
              (f"min by (instance, netns, proto) (socktrace_ephemeral_ports_exhaustion_seconds{{{ALL}}}) < inf", "{{instance}} {{netns}} {{proto}}"), none="not in sight"),
        lines("Calls without a port", "connect() and bind() that failed because no local port was left.", "cps",
              (rate("socktrace_ephemeral_port_failures_total", by="owner, call, error") + " > 0", "{{owner}} {{call}} {{error}}"), none="none"),
        lines("The worst destinations", "The part of the ports towards each that is used up. Only with metrics.destinations, as it names addresses.", "percentunit",
              (f"topk(10, max by (netns, proto, destination) (socktrace_ephemeral_ports_destination_used_ratio{{{ALL}}}))", "{{destination}} {{proto}} {{netns}}"), most=1, none="metrics.destinations is 0"),
        last("TIME_WAIT by owner", "Who closes first, many times a second, keeps ports. Keep connections alive, or let the other side close.", "short",
             f'topk(10, sum by (owner) (socktrace_sockets{{{ALL}, state="time_wait"}}) > 0)', "{{owner}}"),
        lines("Connects by owner", "Each takes a port towards its destination until it is over.", "cps",
              (f'topk(10, {rate("socktrace_connects_total", by="owner")})', "{{owner}}")),
    ],
)

HEALTH = dashboard(
    "socktrace-health",
    "socktrace / Health of the tracer",
    "Does socktrace run, does it see everything, and what does that cost?",
    [
        stat("Down", "Instances that Prometheus cannot scrape.", "short", f"count(up{{{ALL}}} == 0) or sum(0 * up{{{ALL}}})", red=1),
        stat("Hooks missing", "Something is not seen. socktrace doctor says what, and why.", "short",
             f"count(socktrace_hook_attached{{{ALL}}} == 0) or sum(0 * socktrace_hook_attached{{{ALL}}})", yellow=1),
        stat("Events lost", "In the last hour.", "short", f"sum(increase(socktrace_events_lost_total{{{ALL}}}[1h]))", yellow=1),
        stat("Sockets without room", "In the last hour: they are not followed. Raise daemon.max_sockets.", "short",
             f"sum(increase(socktrace_table_full_total{{{ALL}}}[1h]))", red=1),
        stat("Processor", "Of one CPU, the daemon of the worst instance. What hooks take is below.", "percentunit",
             f"max(rate(process_cpu_seconds_total{{{ALL}}}[$__rate_interval]))", yellow=0.1, red=0.5),
        stat("Memory", "Resident, of the worst instance.", "bytes", f"max(process_resident_memory_bytes{{{ALL}}})"),
        lines("Events", "Rows that socktrace trace would show.", "cps", (rate("socktrace_events_total", by="event"), "{{event}}"), stacked=True),
        lines("Events lost", "By where: in the ring, in a map of the kernel side, by the kernel while it was in another hook, or in decoding.", "cps",
              (rate("socktrace_events_lost_total", by="instance, where"), "{{instance}} {{where}}")),
        lines("Processor", "Of one CPU.", "percentunit", (f"rate(process_cpu_seconds_total{{{ALL}}}[$__rate_interval])", "{{instance}}")),
        lines("Memory", "Resident.", "bytes", (f"process_resident_memory_bytes{{{ALL}}}", "{{instance}}")),
        lines("Sockets in the table", "Memory goes with them: about 230 bytes each.", "short", (f"socktrace_tracked_sockets{{{ALL}}}", "{{instance}}")),
        lines("Descriptors and threads", "Of the daemon. Neither should grow.", "short",
              (f"process_open_fds{{{ALL}}}", "{{instance}} descriptors"), (f"process_threads{{{ALL}}}", "{{instance}} threads")),
        quantiles("Time of snapshots", "How long it takes to list everything that is open.", "socktrace_reconcile_duration_seconds"),
        lines("Corrections", "What snapshots taught that no event had told. After a loss there are some; else they are what no hook sees.", "cps",
              (rate("socktrace_reconcile_corrections_total", by="kind"), "{{kind}}")),
        lines("Time of scrapes", "As Prometheus sees it.", "s", (f"scrape_duration_seconds{{{ALL}}}", "{{instance}}")),
        lines("Series left out", "Because a metric had too many: raise metrics.series, or name fewer owners.", "cps",
              (rate("socktrace_series_dropped_total", by="instance, metric"), "{{instance}} {{metric}}"), none="none"),
        lines("Time in hooks", "Of all CPUs, while kernel.bpf_stats_enabled is 1.", "percentunit",
              (rate("socktrace_hook_run_seconds_total", by="instance, hook"), "{{instance}} {{hook}}"), none="kernel.bpf_stats_enabled is 0"),
        lines("Time of a hook's run", "The mean, while kernel.bpf_stats_enabled is 1.", "s",
              (part_of(rate("socktrace_hook_run_seconds_total", by="hook"), rate("socktrace_hook_runs_total", by="hook")), "{{hook}}"), none="kernel.bpf_stats_enabled is 0"),
        lines("Alerts", "What became of alerts of the daemon's own outputs.", "cps",
              (rate("socktrace_alerts_total", by="output, result"), "{{output}} {{result}}"), none="no outputs"),
        lines("Alerts on their way", "A queue that stays is an output that does not take them.", "short",
              (f"max by (instance, output) (socktrace_alerts_waiting{{{ALL}}})", "{{instance}} {{output}}"), none="no outputs"),
        table("Versions", "What runs where.", f"count by (version, rust_version, instance) (socktrace_build_info{{{ALL}}})", ["version", "rust_version", "instance"]),
    ],
)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for board in (OVERVIEW, OWNER, PORTS, HEALTH):
        text = json.dumps(board, indent=1, ensure_ascii=False)
        (folder / f"{board['uid']}.json").write_text(text + "\n", encoding="utf-8")


main()
