//! What is where, in which format, by which method.

use std::{io::Read as _, sync::atomic::Ordering, thread};

use flate2::read::GzDecoder;

use crate::support::{start, start_with, wait};

#[test]
fn a_browser_finds_everything_from_the_first_page() {
    let site = start(&["--web.telemetry-path", "/m"]);
    let page = site.curl("/", &[]);
    assert_eq!(page.status, 200);
    assert!(
        page.has("content-type: text/html; charset=utf-8"),
        "{page:?}"
    );
    for path in [
        "/m",
        "/page",
        "/-/healthy",
        "/-/ready",
        "/api/v1/sockets",
        "/api/v1/limits",
    ] {
        assert!(
            page.text().contains(&format!("href=\"{path}\"")),
            "{page:?}"
        );
        assert_eq!(site.curl(path, &[]).status, 200, "{path}");
    }
}

#[test]
fn a_page_is_sent_as_it_is() {
    let page = start(&[]).curl("/page", &[]);
    assert!(
        page.has("content-type: text/html; charset=utf-8"),
        "{page:?}"
    );
    assert_eq!(page.text(), "<p id=\"here\">");
}

#[test]
fn metrics_come_in_the_format_that_is_asked_for() {
    let site = start(&[]);
    let text = site.curl("/metrics", &[]);
    assert!(
        text.has("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{text:?}"
    );
    assert!(
        text.text().starts_with("# TYPE scrape gauge\nscrape 0\n"),
        "{text:?}"
    );
    let open = [
        "-H",
        "Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5",
    ];
    let open = site.curl("/metrics", &open);
    assert!(
        open.has("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{open:?}"
    );
    assert!(open.text().ends_with("# EOF\n"), "{open:?}");
}

#[test]
fn metrics_are_compressed_for_who_accepts_it() {
    let site = start(&[]);
    let packed = site.curl("/metrics", &["-H", "Accept-Encoding: gzip"]);
    assert!(packed.has("content-encoding: gzip"), "{packed:?}");
    assert!(packed.has("vary: accept, accept-encoding"), "{packed:?}");
    let mut text = String::new();
    GzDecoder::new(&packed.body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains("scrape 0\n"), "{text}");
    assert!(packed.body.len() < text.len() / 5);
    // What is small is sent as it is.
    let small = site.curl("/api/v1/sockets", &["-H", "Accept-Encoding: gzip"]);
    assert!(!small.head.contains("content-encoding"), "{small:?}");
}

#[test]
fn head_is_get_without_the_body() {
    let site = start(&[]);
    for path in ["/", "/metrics", "/-/ready", "/api/v1/sockets"] {
        let (head, get) = (site.curl(path, &["--head"]), site.curl(path, &[]));
        assert_eq!((head.exit, head.status), (0, 200), "{head:?}");
        assert!(
            head.has(&format!("content-length: {}", get.body.len())),
            "{head:?}"
        );
    }
}

#[test]
fn lists_get_the_query_decoded() {
    let site = start(&[]);
    let list = site.curl("/api/v1/sockets?filter=comm+%3D%3D+a%26b&netns=1&x", &[]);
    assert_eq!(
        list.text(),
        r#"sockets [("filter", "comm == a&b"), ("netns", "1"), ("x", "")]"#
    );
    assert!(list.has("content-type: application/json"), "{list:?}");
    assert!(list.has("x-socktrace-complete: true"), "{list:?}");
    let error = site.curl("/api/v1/hooks", &[]);
    assert_eq!(
        (error.status, error.text().as_str()),
        (400, "{\"error\":\"no such \\\"hook\\\"\"}\n")
    );
    assert_eq!(site.curl("/api/v1/else", &[]).status, 404);
}

#[test]
fn what_is_not_there_and_what_is_not_allowed_are_told_apart() {
    let site = start(&[]);
    for (path, method, status) in [
        ("/nothing", "GET", 404),
        ("/api/v1", "GET", 404),
        ("/metrics", "POST", 405),
        ("/api/v1/sockets", "DELETE", 405),
        ("/-/reload", "GET", 405),
        ("/-/reload", "POST", 403),
    ] {
        let answer = site.curl(path, &["-X", method]);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(
            answer.has("content-type: text/plain; charset=utf-8"),
            "{answer:?}"
        );
        assert!(answer.text().ends_with('\n'), "{answer:?}");
    }
    assert_eq!(site.content.reloads.load(Ordering::SeqCst), 0);
}

#[test]
fn reloading_works_where_it_is_allowed_and_says_what_is_wrong() {
    let site = start(&["--web.enable-lifecycle"]);
    assert_eq!(site.curl("/-/reload", &["-X", "POST"]).status, 200);
    let wrong = site.curl("/-/reload", &["-X", "POST"]);
    assert_eq!(
        (wrong.status, wrong.text().as_str()),
        (500, "line 3 is wrong\n")
    );
    assert_eq!(site.curl("/-/reload", &[]).status, 405);
}

#[test]
fn it_is_ready_when_its_content_is() {
    let site = start(&[]);
    site.content.is_ready.store(false, Ordering::SeqCst);
    let not = site.curl("/-/ready", &[]);
    assert_eq!(
        (not.status, not.text().as_str()),
        (503, "the hooks are not in place\n")
    );
    assert_eq!(site.curl("/-/healthy", &[]).status, 200);
    site.content.is_ready.store(true, Ordering::SeqCst);
    assert_eq!(site.curl("/-/ready", &[]).status, 200);
}

#[test]
fn scrapes_at_the_same_time_are_one() {
    let limits = socktrace::http::Limits::default();
    let site = start_with(&["--web.max-requests", "5"], limits, None).unwrap();
    let bodies = thread::scope(|scope| {
        let all = [(); 5].map(|()| scope.spawn(|| site.curl("/metrics", &["--compressed"])));
        // All five wait: there is no place for another.
        wait("all five ask", || site.curl("/", &[]).status == 503);
        site.content.open();
        all.map(|one| one.join().unwrap().text())
    });
    assert_eq!(site.content.scrapes.load(Ordering::SeqCst), 1);
    assert!(
        bodies.iter().all(|body| body.contains("scrape 0\n")),
        "{bodies:?}"
    );
    // It is over: the next one is new.
    assert!(site.curl("/metrics", &[]).text().contains("scrape 1\n"));
}
