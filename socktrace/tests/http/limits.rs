//! Clients that are slow, huge, or many.

use std::{
    io::Write as _,
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use socktrace::http::Limits;

use crate::support::{HUGE, LONG, Site, ask, curl, read_to_end, start_with, wait};

const SHORT: Duration = Duration::from_millis(300);

fn start(arguments: &[&str], limits: Limits) -> Site {
    start_with(arguments, limits, None).unwrap()
}

#[test]
fn a_client_that_sends_byte_by_byte_is_cut() {
    let limits = Limits {
        head: SHORT,
        ..Limits::default()
    };
    let site = start(&[], limits);
    let mut stream = site.connect();
    let begin = Instant::now();
    // It never stops sending, so only a limit on the whole head ends it.
    while stream.write_all(b"G").is_ok() {
        assert!(begin.elapsed() < LONG, "still being read");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_client_that_says_nothing_is_cut() {
    let limits = Limits {
        head: SHORT,
        ..Limits::default()
    };
    let site = start(&[], limits);
    assert_eq!(read_to_end(&mut site.connect()), b"");
}

#[test]
fn a_connection_may_be_idle_between_requests_but_not_for_ever() {
    let limits = Limits {
        head: SHORT,
        idle: SHORT * 5,
        ..Limits::default()
    };
    let site = start(&[], limits);
    let mut stream = site.connect();
    ask(&mut stream, "/-/healthy");
    let begin = Instant::now();
    let bytes = read_to_end(&mut stream);
    assert!(bytes.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
    assert!(
        begin.elapsed() >= SHORT * 5,
        "cut after {:?}",
        begin.elapsed()
    );
}

#[test]
fn a_client_that_does_not_read_is_cut_and_its_place_is_free_again() {
    let limits = Limits {
        response: SHORT * 3,
        ..Limits::default()
    };
    let site = start(&["--web.max-requests", "1"], limits);
    let mut stream = site.connect();
    ask(&mut stream, "/api/v1/ports");
    wait("its place is taken", || site.curl("/", &[]).status == 503);
    wait("its place is free", || site.curl("/", &[]).status == 200);
    let bytes = read_to_end(&mut stream);
    assert!(bytes.len() < HUGE, "it got all {} bytes", bytes.len());
}

#[test]
fn a_client_that_reads_slowly_is_cut() {
    let limits = Limits {
        response: SHORT,
        ..Limits::default()
    };
    let site = start(&[], limits);
    let slow = site.curl("/api/v1/ports", &["--limit-rate", "4M"]);
    assert_ne!(slow.exit, 0, "{}", slow.error);
    assert!(slow.body.len() < HUGE);
    // One that reads gets it all.
    let limits = Limits::default();
    let whole = start(&[], limits).curl("/api/v1/ports", &[]);
    assert_eq!((whole.exit, whole.body.len()), (0, HUGE));
}

#[test]
fn a_huge_head_is_refused() {
    let site = start(&[], Limits::default());
    let header = format!("X-Long: {}", "x".repeat(100_000));
    let answer = site.curl("/", &["-H", &header]);
    assert_eq!(answer.status, 431, "{answer:?}");
    let path = format!("/?{}", "x".repeat(100_000));
    let answer = site.curl(&path, &[]);
    assert!([414, 431].contains(&answer.status), "{answer:?}");
    assert_eq!(site.curl("/", &[]).status, 200);
}

#[test]
fn a_huge_body_is_not_read() {
    let site = start(&[], Limits::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(HUGE as u64).unwrap();
    let data = format!("@{}", file.path().display());
    // No wait for a go-ahead: it sends at once, and gets its answer all the same, or is cut off.
    let answer = site.curl("/-/reload", &["--data-binary", &data, "-H", "Expect:"]);
    assert!([0, 403].contains(&answer.status), "{answer:?}");
    assert_eq!(site.curl("/", &[]).status, 200);
}

#[test]
fn more_requests_than_allowed_get_503_but_probes_are_answered() {
    let site = start(&["--web.max-requests", "1"], Limits::default());
    thread::scope(|scope| {
        let first = scope.spawn(|| site.curl("/api/v1/findings", &[]));
        wait("the first has the place", || {
            site.curl("/", &[]).status == 503
        });
        let refused = site.curl("/api/v1/sockets", &[]);
        assert!(refused.text().contains("--web.max-requests"), "{refused:?}");
        assert!(refused.has("retry-after: 1"), "{refused:?}");
        assert_eq!(site.curl("/-/healthy", &[]).status, 200);
        assert_eq!(site.curl("/-/ready", &[]).status, 200);
        site.content.open();
        assert_eq!(first.join().unwrap().status, 200);
    });
}

#[test]
fn a_scrape_that_takes_too_long_is_told_before_prometheus_gives_up() {
    let site = start(&[], Limits::default());
    let header = ["-H", "X-Prometheus-Scrape-Timeout-Seconds: 0.4"];
    let late = site.curl("/metrics", &header);
    assert_eq!(late.status, 503, "{late:?}");
    assert!(late.text().contains("within 200ms"), "{late:?}");
    // Whoever asks next is not caught in the one that was given up.
    site.content.open();
    assert_eq!(site.curl("/metrics", &[]).status, 200);
}

#[test]
fn what_is_never_answered_ends_all_the_same() {
    let limits = Limits {
        answer: SHORT,
        ..Limits::default()
    };
    let site = start(&[], limits);
    let late = site.curl("/api/v1/findings", &[]);
    assert_eq!(late.status, 503, "{late:?}");
    assert!(late.text().contains("\"error\""), "{late:?}");
}

#[test]
fn two_hundred_connections_at_once_are_all_served() {
    let site = start(&[], Limits::default());
    let mut streams: Vec<TcpStream> = (0..200).map(|_| site.connect()).collect();
    for stream in &mut streams {
        write!(
            stream,
            "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
    }
    for stream in &mut streams {
        assert!(read_to_end(stream).starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn when_all_places_are_taken_the_longest_idle_connection_makes_room() {
    let limits = Limits {
        connections: 10,
        ..Limits::default()
    };
    let site = start(&[], limits);
    let mut streams: Vec<TcpStream> = (0..10).map(|_| site.connect()).collect();
    for stream in &mut streams[1..] {
        write!(stream, "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    assert_eq!(site.curl("/", &[]).status, 200);
    assert_eq!(read_to_end(&mut streams[0]), b"", "the first never asked");
    // Many that say nothing keep nobody out.
    let _many: Vec<TcpStream> = (0..100).map(|_| site.connect()).collect();
    assert_eq!(site.curl("/", &[]).status, 200);
    assert!(!site.running.is_over());
}

#[test]
fn stopping_waits_for_nobody_who_asks_nothing() {
    let site = start(&[], Limits::default());
    let mut idle = site.connect();
    let begin = Instant::now();
    drop(site);
    assert!(begin.elapsed() < LONG);
    assert_eq!(read_to_end(&mut idle), b"");
}

#[test]
fn stopping_lets_requests_end() {
    let limits = Limits {
        grace: LONG,
        ..Limits::default()
    };
    let site = start(&["--web.max-requests", "1"], limits);
    let (url, address, content) = (
        site.url("/api/v1/findings"),
        site.address,
        Arc::clone(&site.content),
    );
    thread::scope(|scope| {
        let asking = scope.spawn(|| curl(&[&url]));
        wait("it asks", || site.curl("/", &[]).status == 503);
        let stopping = scope.spawn(|| drop(site.running));
        wait("nobody else gets in", || {
            TcpStream::connect(address).is_err()
        });
        content.open();
        assert_eq!(asking.join().unwrap().status, 200);
        stopping.join().unwrap();
    });
}
