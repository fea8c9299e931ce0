//! Client certificates: `client_auth_type`, `client_ca`, `client_allowed_sans`, as Go means them.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use webpki::EndEntityCert;

/// `client_auth_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// None is asked for.
    None,
    /// One is asked for; none or any is right.
    Request,
    /// Any is right, but there must be one.
    RequireAny,
    /// None is right, and if there is one it must be signed by the authorities.
    VerifyIfGiven,
    /// There must be one, signed by the authorities. The only one that keeps anybody out.
    RequireAndVerify,
}

const POLICIES: [(&str, Policy); 6] = [
    ("NoClientCert", Policy::None),
    ("RequestClientCert", Policy::Request),
    ("RequireAnyClientCert", Policy::RequireAny),
    // The toolkit's older name for it.
    ("RequireClientCert", Policy::RequireAny),
    ("VerifyClientCertIfGiven", Policy::VerifyIfGiven),
    ("RequireAndVerifyClientCert", Policy::RequireAndVerify),
];

pub(super) fn policy(name: Option<&str>) -> Result<Policy, String> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(Policy::None);
    };
    let found = POLICIES.iter().find(|(known, _)| *known == name);
    found.map(|(_, policy)| *policy).ok_or_else(|| {
        let names = POLICIES.map(|(name, _)| name).join(", ");
        format!("client_auth_type: there is no {name}, only {names}")
    })
}

/// What is asked of clients.
pub(super) struct Clients {
    pub(super) policy: Policy,
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
    /// One of these must be a name in the certificate.
    pub(super) names: Option<Vec<String>>,
}

impl Clients {
    /// What rustls asks.
    pub(super) fn verifier(
        self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let chain = match (self.policy, self.authorities) {
            (Policy::None, Some(_)) => {
                return Err(
                    "client_ca without client_auth_type lets everybody in; say RequireAndVerifyClientCert"
                        .to_owned(),
                );
            }
            (Policy::VerifyIfGiven | Policy::RequireAndVerify, None) => {
                return Err(
                    "client_auth_type: to verify certificates, say whose in client_ca_file"
                        .to_owned(),
                );
            }
            (Policy::VerifyIfGiven | Policy::RequireAndVerify, Some(authorities)) => {
                Some(chain(self.policy, authorities, provider)?)
            }
            (Policy::None | Policy::Request | Policy::RequireAny, _) => None,
        };
        let names = self.names.map(|names| names.iter().map(name).collect());
        let names: Option<Vec<Name>> = names.transpose()?;
        if self.policy == Policy::None {
            if names.is_some() {
                return Err(
                    "client_allowed_sans without client_auth_type lets everybody in; say RequireAndVerifyClientCert"
                        .to_owned(),
                );
            }
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        Ok(Arc::new(Verifier {
            policy: self.policy,
            chain,
            names,
            provider: Arc::clone(provider),
        }))
    }
}

fn chain(
    policy: Policy,
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let added = roots.add(authority);
        added.map_err(|error| format!("client_ca: no certificate of an authority: {error}"))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if policy == Policy::VerifyIfGiven {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder
        .build()
        .map_err(|error| format!("client_ca: {error}"))
}

/// A name that a certificate may have.
#[derive(Debug)]
enum Name {
    Address(IpAddr),
    /// Of a host or a URI: the exact text.
    Text(String),
}

fn name(text: &String) -> Result<Name, String> {
    if let Ok(address) = text.parse() {
        return Ok(Name::Address(address));
    }
    // An address in a URI has its scheme before it.
    if text.contains('@') && !text.contains(':') {
        return Err(format!(
            "client_allowed_sans: {text}: e-mail addresses are not supported, only names of hosts, IP addresses and URIs"
        ));
    }
    Ok(Name::Text(text.clone()))
}

/// Asks for the signature in any case; for the chain and the names if that is wanted.
#[derive(Debug)]
struct Verifier {
    policy: Policy,
    chain: Option<Arc<dyn ClientCertVerifier>>,
    names: Option<Vec<Name>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn has_an_allowed_name(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        let Some(names) = &self.names else {
            return Ok(true);
        };
        let certificate = EndEntityCert::try_from(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        Ok(names.iter().any(|name| match name {
            Name::Address(address) => {
                let address = ServerName::IpAddress((*address).into());
                certificate
                    .verify_is_valid_for_subject_name(&address)
                    .is_ok()
            }
            Name::Text(text) => certificate
                .valid_dns_names()
                .chain(certificate.valid_uri_names())
                .any(|name| name == text),
        }))
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        matches!(self.policy, Policy::RequireAny | Policy::RequireAndVerify)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain
            .as_ref()
            .map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(certificate, intermediates, now)?;
        }
        if self.has_an_allowed_name(certificate)? {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
