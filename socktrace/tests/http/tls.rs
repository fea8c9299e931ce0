//! TLS and users, as curl and openssl see them.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::support::{Answered, Site, curl, start, start_with, wait, write};

/// A directory with an authority, and what it has signed: made once for each test.
pub(crate) struct Certificates {
    pub(crate) directory: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let own = Self {
            directory: TempDir::new().unwrap(),
        };
        own.sign("ca", None, "basicConstraints=critical,CA:TRUE");
        own.sign(
            "server",
            Some("ca"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        );
        own
    }

    /// A key and a certificate, of its own or of an authority.
    pub(crate) fn sign(&self, name: &str, authority: Option<&str>, extension: &str) {
        let mut openssl = Command::new("openssl");
        openssl
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(' '))
            .args(["-subj", &format!("/CN={name}"), "-addext", extension])
            .args(["-keyout", &self.path(&format!("{name}.key"))])
            .args(["-out", &self.path(&format!("{name}.crt"))]);
        if let Some(authority) = authority {
            openssl
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-CA", &self.path(&format!("{authority}.crt"))])
                .args(["-CAkey", &self.path(&format!("{authority}.key"))]);
        }
        let output = openssl.output().expect("openssl (package openssl)");
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The web configuration, and a server with it.
    fn start(&self, more: &str) -> Secure<'_> {
        self.write(more);
        let site = start(&["--web.config.file", &self.path("web.yml")]);
        Secure {
            site,
            certificates: self,
        }
    }

    fn write(&self, more: &str) {
        let text = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
        write(&self.file("web.yml"), &format!("{text}{more}"));
    }
}

struct Secure<'a> {
    site: Site,
    certificates: &'a Certificates,
}

impl Secure<'_> {
    fn curl(&self, arguments: &[&str]) -> Answered {
        let url = format!("https://localhost:{}/metrics", self.site.address.port());
        let authority = self.certificates.path("ca.crt");
        let own = [url.as_str(), "-4", "--cacert", &authority];
        curl(&[&own, arguments].concat())
    }

    /// With a client's certificate.
    fn curl_as(&self, name: &str) -> Answered {
        let certificate = self.certificates.path(&format!("{name}.crt"));
        let key = self.certificates.path(&format!("{name}.key"));
        self.curl(&["--cert", &certificate, "--key", &key])
    }
}

#[test]
fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let certificates = Certificates::new();
    let secure = certificates.start("");
    assert_eq!(secure.curl(&[]).status, 200);
    assert_eq!(secure.curl(&["--tls-max", "1.2"]).status, 200);
    assert_eq!(secure.site.curl("/metrics", &[]).status, 0, "in plain text");
    // curl trusts only whom it is told to.
    certificates.sign("other", None, "basicConstraints=critical,CA:TRUE");
    assert_eq!(
        secure
            .curl(&["--cacert", &certificates.path("other.crt")])
            .exit,
        60
    );
}

#[test]
fn http_2_is_spoken_over_tls_unless_it_is_off() {
    let certificates = Certificates::new();
    let secure = certificates.start("");
    let two = secure.curl(&["--http2"]);
    assert!(two.head.starts_with("http/2 200"), "{two:?}");
    let list = format!(
        "https://localhost:{}/api/v1/ports",
        secure.site.address.port()
    );
    let whole = curl(&[
        &list,
        "-4",
        "--http2",
        "--cacert",
        &certificates.path("ca.crt"),
    ]);
    assert_eq!((whole.exit, whole.body.len()), (0, crate::support::HUGE));
    let one = certificates.start("http_server_config:\n  http2: false\n");
    let one = one.curl(&["--http2"]);
    assert!(one.head.starts_with("http/1.1 200"), "{one:?}");
}

#[test]
fn a_client_that_reads_slowly_over_http_2_is_cut() {
    let certificates = Certificates::new();
    certificates.write("");
    let limits = socktrace::http::Limits {
        response: std::time::Duration::from_millis(500),
        ..Default::default()
    };
    let web = ["--web.config.file", &certificates.path("web.yml")];
    let site = start_with(&web, limits, None).unwrap();
    let list = format!("https://localhost:{}/api/v1/ports", site.address.port());
    let authority = certificates.path("ca.crt");
    let slow = curl(&[
        &list,
        "-4",
        "--http2",
        "--cacert",
        &authority,
        "--limit-rate",
        "4M",
    ]);
    assert_ne!(slow.exit, 0, "{}", slow.error);
    assert!(slow.body.len() < crate::support::HUGE);
}

#[test]
fn versions_and_suites_are_those_that_are_allowed() {
    let certificates = Certificates::new();
    let newer = certificates.start("  min_version: TLS13\n");
    assert_eq!(newer.curl(&[]).status, 200);
    assert_eq!(newer.curl(&["--tls-max", "1.2"]).status, 0);
    let older =
        "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n";
    let older = certificates.start(older);
    assert_eq!(older.curl(&["--tlsv1.3"]).status, 0);
    let suite = |suite| older.curl(&["--ciphers", suite]).status;
    assert_eq!(suite("ECDHE-ECDSA-AES128-GCM-SHA256"), 200);
    assert_eq!(suite("ECDHE-ECDSA-AES256-GCM-SHA384"), 0);
    // Up to TLS 1.2 the curve is that of the certificate, too.
    let curves = certificates.start("  min_version: TLS13\n  curve_preferences: [CurveP384]\n");
    let curve = |curve| curves.curl(&["--curves", curve]).status;
    assert_eq!((curve("P-384"), curve("X25519")), (200, 0));
}

#[test]
fn clients_prove_who_they_are_as_the_policy_wants_it() {
    let certificates = Certificates::new();
    certificates.sign("known", Some("ca"), "subjectAltName=DNS:scraper");
    certificates.sign("stranger", None, "subjectAltName=DNS:scraper");
    for (policy, none, stranger, known) in [
        ("NoClientCert", 200, 200, 200),
        ("RequestClientCert", 200, 200, 200),
        ("RequireAnyClientCert", 0, 200, 200),
        ("RequireClientCert", 0, 200, 200),
        ("VerifyClientCertIfGiven", 200, 0, 200),
        ("RequireAndVerifyClientCert", 0, 0, 200),
    ] {
        let authority = if policy.contains("Verify") {
            "  client_ca_file: ca.crt\n"
        } else {
            ""
        };
        let secure = certificates.start(&format!("  client_auth_type: {policy}\n{authority}"));
        assert_eq!(secure.curl(&[]).status, none, "{policy}");
        assert_eq!(secure.curl_as("stranger").status, stranger, "{policy}");
        assert_eq!(secure.curl_as("known").status, known, "{policy}");
    }
}

#[test]
fn only_clients_with_an_allowed_name_are_let_in() {
    let certificates = Certificates::new();
    certificates.sign("host", Some("ca"), "subjectAltName=DNS:other,DNS:scraper");
    certificates.sign("address", Some("ca"), "subjectAltName=IP:10.1.2.3");
    certificates.sign("uri", Some("ca"), "subjectAltName=URI:spiffe://x/scraper");
    certificates.sign("wild", Some("ca"), "subjectAltName=DNS:*.org");
    certificates.sign("nameless", Some("ca"), "keyUsage=digitalSignature");
    let secure = certificates.start(
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [scraper, 10.1.2.3, 'spiffe://x/scraper', a.org]\n",
    );
    for (name, status) in [
        ("host", 200),
        ("address", 200),
        ("uri", 200),
        ("wild", 0),
        ("nameless", 0),
    ] {
        assert_eq!(secure.curl_as(name).status, status, "{name}");
    }
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let certificates = Certificates::new();
    let secure = certificates.start("");
    assert_eq!(secure.curl(&[]).status, 200);
    certificates.sign("newer", None, "basicConstraints=critical,CA:TRUE");
    certificates.sign("next", Some("newer"), "subjectAltName=DNS:localhost");
    for kind in ["crt", "key"] {
        let (next, server) = (format!("next.{kind}"), format!("server.{kind}"));
        fs::rename(certificates.file(&next), certificates.file(&server)).unwrap();
    }
    assert_eq!(
        secure.curl(&[]).exit,
        60,
        "the old authority did not sign it"
    );
    assert_eq!(
        secure
            .curl(&["--cacert", &certificates.path("newer.crt")])
            .status,
        200
    );
    // A key that does not fit keeps everybody out; the server runs on.
    fs::copy(certificates.file("ca.key"), certificates.file("server.key")).unwrap();
    assert_eq!(secure.curl(&["--insecure"]).status, 0);
    assert!(!secure.site.running.is_over());
}

/// The line of a user, by Apache's `htpasswd`.
fn hashed(user: &str, password: &str) -> String {
    let output = Command::new("htpasswd")
        .args(["-nbBC", "5", user, password])
        .output()
        .expect("htpasswd (package apache2-utils)");
    let text = String::from_utf8(output.stdout).unwrap();
    let (user, hash) = text.trim().split_once(':').unwrap();
    format!("basic_auth_users:\n  {user}: {hash}\n")
}

#[test]
fn who_has_no_password_or_a_wrong_one_is_not_let_in() {
    let certificates = Certificates::new();
    let secure = certificates.start(&hashed("alice", "se:cret"));
    for (user, status) in [
        ("alice:se:cret", 200),
        ("alice:se:cret", 200),
        ("alice:wrong", 401),
        ("alice:", 401),
        ("bob:se:cret", 401),
    ] {
        assert_eq!(secure.curl(&["--user", user]).status, status, "{user}");
    }
    let nobody = secure.curl(&[]);
    assert_eq!(nobody.status, 401);
    assert!(
        nobody.has("www-authenticate: basic realm=\"socktrace\""),
        "{nobody:?}"
    );
    assert!(!nobody.text().contains("scrape"), "{nobody:?}");
}

#[test]
fn a_changed_password_holds_from_the_next_request_on() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("web.yml");
    write(&file, &hashed("alice", "first"));
    let site = start(&["--web.config.file", file.to_str().unwrap()]);
    let status = |user| site.curl("/metrics", &["--user", user]).status;
    assert_eq!((status("alice:first"), status("alice:second")), (200, 401));
    write(&file, &hashed("alice", "second"));
    assert_eq!((status("alice:first"), status("alice:second")), (401, 200));
}

#[test]
fn while_the_file_is_wrong_nobody_is_let_in_and_nothing_ends() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("web.yml");
    write(&file, &hashed("alice", "first"));
    let site = start(&["--web.config.file", file.to_str().unwrap()]);
    let status = |user| site.curl("/metrics", &["--user", user]).status;
    // One that is connected already is refused, too.
    let mut kept = site.connect();
    crate::support::ask(&mut kept, "/-/healthy");
    wait("it is answered", || {
        let mut seen = [0; 12];
        kept.peek(&mut seen).is_ok_and(|count| count == 12)
    });
    for wrong in [
        "basic_auth_users:\n  alice: secret\n",
        "basic_auth_user:\n",
        "{",
    ] {
        write(&file, wrong);
        assert_eq!(status("alice:first"), 0, "{wrong}");
    }
    crate::support::ask(&mut kept, "/metrics");
    let kept = crate::support::read_to_end(&mut kept);
    let kept = String::from_utf8_lossy(&kept);
    assert!(kept.contains("HTTP/1.1 500"), "{kept}");
    assert!(!kept.contains("scrape"), "{kept}");
    fs::remove_file(&file).unwrap();
    assert_eq!(status("alice:first"), 0, "no file");
    write(&file, &hashed("alice", "first"));
    assert_eq!(status("alice:first"), 200);
}

#[test]
fn headers_are_added_and_requests_are_counted_as_the_file_says() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("web.yml");
    write(
        &file,
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\nrate_limit:\n  interval: 1h\n  burst: 2\n",
    );
    let site = start(&["--web.config.file", file.to_str().unwrap()]);
    let first = site.curl("/metrics", &[]);
    assert!(first.has("x-frame-options: deny"), "{first:?}");
    assert_eq!(first.status, 200);
    assert_eq!(site.curl("/nothing", &[]).status, 404);
    let third = site.curl("/metrics", &[]);
    assert_eq!(third.status, 429);
    assert!(third.has("x-frame-options: deny"), "{third:?}");
}
