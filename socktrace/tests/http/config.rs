//! What the server refuses at its start, and how it says so: addresses and web configurations.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use socktrace::{
    failure::{CONFIGURATION, FAILURE, USAGE},
    http::{Limits, Server},
};

use crate::{
    support::{start_with, web},
    tls::Certificates,
};

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/web")
        .join(kind);
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    found.sort();
    assert!(found.len() > 5);
    found
}

/// The message, if it is refused. The certificates that fixtures name are beside the file.
fn refused(certificates: &Certificates, fixture: &Path) -> Option<String> {
    let file = certificates.path("web.yml");
    fs::copy(fixture, &file).unwrap();
    let started = start_with(&["--web.config.file", &file], Limits::default(), None);
    let failure = started.err()?;
    assert_eq!(failure.status, CONFIGURATION, "{failure}");
    assert!(failure.message.starts_with(&file), "{failure}");
    Some(failure.message)
}

#[test]
fn every_good_web_configuration_is_taken() {
    let certificates = Certificates::new();
    for fixture in fixtures("good") {
        assert_eq!(
            refused(&certificates, &fixture),
            None,
            "{}",
            fixture.display()
        );
    }
}

#[test]
fn every_bad_web_configuration_is_refused_with_what_is_wrong() {
    let certificates = Certificates::new();
    for fixture in fixtures("bad") {
        let text = fs::read_to_string(&fixture).unwrap();
        let said = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# said: "));
        let said = said.expect("the first line is what is said");
        let message = refused(&certificates, &fixture);
        let message = message.unwrap_or_else(|| panic!("{} is taken", fixture.display()));
        assert!(message.contains(said), "{}: {message}", fixture.display());
        // A hash is a secret, and so is whatever stands in its place.
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_web_configuration_that_is_not_there_is_an_error() {
    let web = web(&["--web.config.file", "/nowhere/web.yml"]);
    let failure = Server::bind(&web, None).err().unwrap();
    assert_eq!(failure.status, CONFIGURATION);
    assert!(
        failure.message.contains("/nowhere/web.yml: No such file"),
        "{failure}"
    );
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let _taken = TcpListener::bind(taken).unwrap();
    let taken = taken.to_string();
    for (address, status, said) in [
        (taken.as_str(), FAILURE, "ss -ltnp"),
        ("192.0.2.1:0", FAILURE, "no interface has this address"),
        ("10137", USAGE, "like 127.0.0.1:10137"),
        (":x", USAGE, "like 127.0.0.1:10137"),
        ("[::1]", USAGE, "like 127.0.0.1:10137"),
    ] {
        let web = web(&["--web.listen-address", address]);
        let failure = Server::bind(&web, None).err().unwrap();
        assert_eq!(failure.status, status, "{failure}");
        assert!(failure.message.contains(said), "{failure}");
        assert!(failure.message.contains(address), "{failure}");
    }
}

#[test]
fn a_port_alone_is_all_addresses_and_the_flag_may_be_repeated() {
    let server = Server::bind(&web(&["--web.listen-address", ":0"]), None).unwrap();
    let address = server.addresses()[0];
    assert!(address.ip().is_unspecified());
    std::net::TcpStream::connect(("127.0.0.1", address.port())).unwrap();
    let two = [
        "--web.listen-address",
        "127.0.0.1:0",
        "--web.listen-address",
        "127.0.0.2:0",
    ];
    assert_eq!(Server::bind(&web(&two), None).unwrap().addresses().len(), 2);
}

#[test]
#[ignore = "it is a part of the next test, in a network namespace of its own"]
fn listens_where_it_does_by_default() {
    let server = Server::bind(&web(&[]), None).unwrap();
    println!("listening on {:?}", server.addresses());
    let all = Server::bind(&web(&["--web.listen-address", ":10138"]), None).unwrap();
    let port = all.addresses()[0].port();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    println!("and on all addresses");
}

#[test]
fn without_ipv6_the_default_is_the_address_that_is_left() {
    if !rustix::process::geteuid().is_root() {
        return println!("not run: it needs root for a network namespace");
    }
    let listen = |first: &str| {
        let output = Command::new("unshare")
            .args(["--net", "sh", "-c"])
            .arg(format!("{first}; ip link set lo up; exec \"$0\" \"$@\""))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "config::listens_where_it_does_by_default"])
            .args(["--ignored", "--nocapture"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let both = listen(":");
    assert!(both.contains("[127.0.0.1:10137, [::1]:10137]"), "{both}");
    assert!(both.contains("and on all addresses"), "{both}");
    let one = listen("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    assert!(one.contains("[127.0.0.1:10137]"), "{one}");
    assert!(one.contains("and on all addresses"), "{one}");
}
