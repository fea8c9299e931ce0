//! `tls_server_config`: certificates, versions, suites.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CipherSuite, NamedGroup, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use serde::Deserialize;

use super::clients::{self, Clients};

/// `tls_server_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_ca_file: Option<PathBuf>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<String>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<String>>,
}

/// Suites of TLS 1.2, as Go and the file name them, and those of 1.3, which are always on.
const SUITES: [(&str, CipherSuite); 9] = [
    (
        "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

const CURVES: [(&str, NamedGroup); 4] = [
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
    ("X25519", NamedGroup::X25519),
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
];

const VERSIONS: [(&str, &SupportedProtocolVersion); 2] = [("TLS12", &TLS12), ("TLS13", &TLS13)];

impl Section {
    /// Is TLS asked for at all?
    pub(super) fn is_there(&self) -> bool {
        self.cert.is_some()
            || self.key.is_some()
            || self.cert_file.is_some()
            || self.key_file.is_some()
            || self.client_ca.is_some()
            || self.client_ca_file.is_some()
            || self.client_auth_type.is_some()
    }

    /// The files it names.
    pub(super) fn names(&self, directory: &Path) -> Vec<PathBuf> {
        [&self.cert_file, &self.key_file, &self.client_ca_file]
            .into_iter()
            .flatten()
            .map(|file| directory.join(file))
            .collect()
    }

    /// What rustls makes of it.
    pub(super) fn server(
        &self,
        directory: &Path,
        http2: bool,
    ) -> Result<Arc<ServerConfig>, String> {
        let pem = |key: &str, text: &Option<String>, file: &Option<PathBuf>| {
            let filled = text.as_ref().filter(|text| !text.is_empty());
            match (filled, file) {
                (Some(_), Some(_)) => Err(format!("{key} and {key}_file exclude each other")),
                (Some(text), None) => Ok(Some(text.clone().into_bytes())),
                (None, Some(file)) => {
                    let file = directory.join(file);
                    let read = fs::read(&file);
                    read.map(Some)
                        .map_err(|error| unreadable(key, &file, &error))
                }
                (None, None) => Ok(None),
            }
        };
        let needed = |key: &str, pem: Option<Vec<u8>>| {
            pem.ok_or_else(|| format!("{key} or {key}_file is missing"))
        };
        let chain = needed("cert", pem("cert", &self.cert, &self.cert_file)?)?;
        let key = needed("key", pem("key", &self.key, &self.key_file)?)?;
        let authorities = pem("client_ca", &self.client_ca, &self.client_ca_file)?;

        let provider = Arc::new(self.provider()?);
        let clients = Clients {
            policy: clients::policy(self.client_auth_type.as_deref())?,
            authorities: authorities
                .map(|pem| certificates("client_ca", &pem))
                .transpose()?,
            names: self.client_allowed_sans.clone(),
        };
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions()?)
            .map_err(|error| format!("no cipher suite is left for these versions: {error}"))?
            .with_client_cert_verifier(clients.verifier(&provider)?)
            .with_single_cert(certificates("cert", &chain)?, private_key(&key)?)
            .map_err(|error| format!("the certificate and the key do not fit: {error}"))?;
        server.ignore_client_order = self.prefer_server_cipher_suites.unwrap_or(true);
        server.alpn_protocols = if http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        // Each connection proves anew who it is: scrapes are far between, and a certificate that is no
        // longer wanted must not live on in a session.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Arc::new(server))
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
        let place = |key: &str, said: &Option<String>, default: usize| {
            let Some(said) = said else { return Ok(default) };
            let found = VERSIONS.iter().position(|(name, _)| name == said);
            found.ok_or_else(|| format!("{key}: {said} is not offered, only TLS12 and TLS13"))
        };
        let least = place("min_version", &self.min_version, 0)?;
        let most = place("max_version", &self.max_version, 1)?;
        if least > most {
            return Err("min_version is above max_version".to_owned());
        }
        Ok(VERSIONS[least..=most]
            .iter()
            .map(|(_, version)| *version)
            .collect())
    }

    /// Cryptography with the suites and curves that are asked for. As with Go, those of TLS 1.3 cannot
    /// be chosen.
    fn provider(&self) -> Result<CryptoProvider, String> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(names) = self
            .cipher_suites
            .as_ref()
            .filter(|names| !names.is_empty())
        {
            let wanted = known("cipher_suites", names, &SUITES)?;
            let all = std::mem::take(&mut provider.cipher_suites);
            let (newer, older): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|suite| suite.tls13().is_some());
            let chosen = wanted
                .iter()
                .filter_map(|wanted| older.iter().copied().find(|suite| suite.suite() == *wanted));
            provider.cipher_suites = newer.into_iter().chain(chosen).collect();
        }
        if let Some(names) = self
            .curve_preferences
            .as_ref()
            .filter(|names| !names.is_empty())
        {
            let wanted = known("curve_preferences", names, &CURVES)?;
            let all = aws_lc_rs::ALL_KX_GROUPS;
            provider.kx_groups = wanted
                .iter()
                .filter_map(|wanted| all.iter().copied().find(|group| group.name() == *wanted))
                .collect();
        }
        Ok(provider)
    }
}

/// What these names mean.
fn known<T: Copy>(key: &str, names: &[String], all: &[(&str, T)]) -> Result<Vec<T>, String> {
    let find = |name: &String| {
        let found = all.iter().find(|(known, _)| known == name);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let offered: Vec<_> = all.iter().map(|(name, _)| *name).collect();
            format!("{key}: {name} is not offered, only {}", offered.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn unreadable(key: &str, file: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (what it names while socktrace runs must be in a folder that it named at the start, and \
             readable for socktrace's user: move it, or start socktrace again)"
        }
        _ => "",
    };
    format!("{key}_file: {}: {error}{hint}", file.display())
}

fn certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{key}: no PEM: {error}"))?;
    if found.is_empty() {
        return Err(format!(
            "{key}: there is no certificate in it (BEGIN CERTIFICATE)"
        ));
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| format!("key: there is no private key in it: {error}"))
}
