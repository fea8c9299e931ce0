//! Posts JSON to a server.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::time::timeout;

use super::lane::Undelivered;
use crate::failure::{CONFIGURATION, Failure};

/// So much of an answer is read, to say why something was refused.
const ANSWER: usize = 4096;
/// And so many characters of it are told.
const TOLD: usize = 200;

/// Where and how to post.
pub(super) struct Target<'a> {
    pub(super) url: Uri,
    pub(super) token_file: Option<&'a Path>,
    pub(super) ca_file: Option<&'a Path>,
    pub(super) timeout: Duration,
}

pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

impl Http {
    pub(super) fn new(target: Target<'_>) -> Result<Self, Failure> {
        let tls = tls(&target).map_err(|error| {
            let whose = target.ca_file.map_or("the system", |_| "`ca_file`");
            let host = host(&target.url);
            Failure::new(
                CONFIGURATION,
                format!("certificates of {whose} to know {host} by cannot be read: {error}"),
            )
        })?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            // Posts are rare: a connection that is kept is mostly one that the server has closed.
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self {
            client,
            url: target.url,
            token_file: target.token_file.map(Path::to_owned),
            timeout: target.timeout,
        })
    }

    /// Posts it once.
    pub(super) async fn post(&self, json: impl Into<Bytes>) -> Result<(), Undelivered> {
        let host = host(&self.url);
        let request = self.request(json.into())?;
        let posted = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| {
                Undelivered::yet(format!("{host} cannot be reached: {}", chain(&error)))
            })?;
            judge(answer, host).await
        };
        timeout(self.timeout, posted).await.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs_f64();
            Err(Undelivered::yet(format!(
                "{host} did not answer within {seconds} s"
            )))
        })
    }

    fn request(&self, json: Bytes) -> Result<Request<Full<Bytes>>, Undelivered> {
        let mut request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("socktrace/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(json))
            .map_err(|error| Undelivered::at_all(error.to_string()))?;
        if let Some(path) = &self.token_file {
            let token = fs::read_to_string(path)
                .map_err(|error| Undelivered::yet(format!("{}: {error}", path.display())))?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| Undelivered::yet(format!("{} holds no token", path.display())))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

fn tls(target: &Target<'_>) -> Result<ClientConfig, Box<dyn Error>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match target.ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
            if roots.is_empty() {
                return Err("it holds none".into());
            }
            builder.with_root_certificates(roots)
        }
        None if target.url.scheme_str() == Some("https") => builder.with_native_roots()?,
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    Ok(builder.with_no_client_auth())
}

/// Whom we speak to. Not the path: some services know their users by it.
fn host(url: &Uri) -> &str {
    url.authority().map_or("", |authority| authority.as_str())
}

/// What the answer means.
async fn judge(answer: Response<Incoming>, host: &str) -> Result<(), Undelivered> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = Limited::new(answer.into_body(), ANSWER).collect().await;
    let said = said.map_or_else(|_| Bytes::new(), Collected::to_bytes);
    let said = String::from_utf8_lossy(&said);
    let said: String = said.trim().chars().take(TOLD).collect();
    let said = crate::field::printable(&said);
    let why = format!("{host} answers {status}: {said}");
    let why = why.trim_end_matches(": ");
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    Err(Undelivered {
        why: why.to_owned(),
        again: status.is_server_error() || later.contains(&status),
    })
}

/// The innermost reason is the one that says something.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<io::Error>() {
        Some(error) => error.to_string(),
        None => innermost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Server, block_on};
    use super::*;

    fn http(url: &str) -> Http {
        let target = Target {
            url: url.parse().unwrap(),
            token_file: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
        };
        Http::new(target).unwrap()
    }

    #[test]
    fn what_an_answer_says_decides_whether_to_try_again() {
        for (status, again, said) in [
            ("200 OK", None, ""),
            ("202 Accepted", None, ""),
            ("302 Found", Some(false), "answers 302 Found: no\\u{1b}"),
            (
                "400 Bad Request",
                Some(false),
                "answers 400 Bad Request: no\\u{1b}",
            ),
            ("429 Too Many Requests", Some(true), "429"),
            ("503 Service Unavailable", Some(true), "503"),
        ] {
            let server = Server::start(&[status]);
            let posted = block_on(http(&server.url("/in?x=1")).post("{}"));
            match again {
                None => posted.unwrap(),
                Some(again) => {
                    let undelivered = posted.unwrap_err();
                    assert_eq!(undelivered.again, again, "{status}");
                    assert!(undelivered.why.contains(said), "{}", undelivered.why);
                    assert!(!undelivered.why.contains("x=1"), "{}", undelivered.why);
                }
            }
            let request = server.next();
            assert!(
                request.head.starts_with("POST /in?x=1 HTTP/1.1\r\n"),
                "{}",
                request.head
            );
            assert!(request.head.contains("content-type: application/json"));
            assert_eq!(request.body, "{}");
        }
    }

    /// Why it cannot be delivered now.
    fn later(http: &Http) -> String {
        let undelivered = block_on(http.post("{}")).unwrap_err();
        assert!(undelivered.again);
        undelivered.why
    }

    #[test]
    fn nobody_there_is_told_and_tried_again() {
        let gone = Server::start(&[]).url("/");
        let why = later(&http(&gone));
        assert!(why.contains("Connection refused"), "{why}");
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut http = http(&format!("http://{}", listener.local_addr().unwrap()));
        http.timeout = Duration::from_millis(50);
        let why = later(&http);
        assert!(why.ends_with("within 0.05 s"), "{why}");
    }

    #[test]
    fn a_token_is_read_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let server = Server::start(&["200 OK"]);
        let mut http = http(&server.url("/"));
        http.token_file = Some(file.path().to_owned());
        for token in ["one", "two"] {
            fs::write(file.path(), format!("{token}\n")).unwrap();
            block_on(http.post("{}")).unwrap();
            let head = server.next().head;
            assert!(
                head.contains(&format!("authorization: Bearer {token}\r\n")),
                "{head}"
            );
        }
        fs::remove_file(file.path()).unwrap();
        later(&http);
    }

    #[test]
    fn a_server_is_known_by_its_certificate() {
        let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls/ca.pem");
        let server = Server::start_tls(&["200 OK"]);
        let target = |ca_file| Target {
            url: server.url("/").parse().unwrap(),
            token_file: None,
            ca_file,
            timeout: Duration::from_secs(10),
        };
        let known = Http::new(target(Some(authority.as_path()))).unwrap();
        block_on(known.post("{}")).unwrap();
        assert_eq!(server.next().body, "{}");
        // Any other certificate is as good as the system's: none of them is the server's authority.
        let other = authority.with_file_name("other.pem");
        let stranger = Http::new(target(Some(other.as_path()))).unwrap();
        let why = block_on(stranger.post("{}")).unwrap_err().why;
        assert!(why.contains("UnknownIssuer"), "{why}");
        let none = tempfile::NamedTempFile::new().unwrap();
        let failure = Http::new(target(Some(none.path()))).err().unwrap();
        assert_eq!(failure.status, 78);
    }
}
