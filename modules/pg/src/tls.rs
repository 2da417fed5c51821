//! TLS as libpq's `sslmode` means it, by rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::login::{Login, SslMode};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file that cannot be read.
    #[error("could not read the {what} \"{path}\"")]
    File {
        /// What the file should hold.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A root certificate file without certificates.
    #[error("the root certificate file \"{0}\" holds no certificate")]
    NoRoots(PathBuf),
    /// Only one of certificate and key.
    #[error("ssl_cert and ssl_key must be given together")]
    HalfIdentity,
    /// rustls refused what the files hold.
    #[error("could not set up TLS")]
    Refused(#[source] rustls::Error),
}

/// How much of the server's certificate is checked.
#[derive(Debug)]
enum Check {
    /// Nothing: encryption only.
    Nothing,
    /// The chain up to the root certificate, not the host name.
    Chain(Arc<WebPkiServerVerifier>),
}

#[derive(Debug)]
struct Relaxed {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Relaxed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Check::Chain(strict) = &self.check else { return Ok(ServerCertVerified::assertion()) };
        // rustls checks the chain first, so an error about the name says that
        // the chain is good.
        match strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS for this login.
///
/// # Errors
/// When a certificate or key file cannot be used.
pub(crate) fn connector(login: &Login) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Refused)?;
    let roots = login.ca_cert.as_deref().map(roots).transpose()?;
    let builder = match (roots, login.ssl_mode) {
        (Some(roots), SslMode::VerifyFull) => builder.with_root_certificates(roots),
        (roots, _) => {
            let check = match roots {
                None => Check::Nothing,
                Some(roots) => Check::Chain(strict(roots, &provider)?),
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Relaxed { check, provider }))
        }
    };
    let config = match identity(login)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Refused)?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn strict(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Refused(rustls::Error::General(error.to_string())))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path, "root certificate")? {
        store.add(certificate).map_err(TlsError::Refused)?;
    }
    if store.is_empty() {
        return Err(TlsError::NoRoots(path.to_owned()));
    }
    Ok(store)
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what, path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(login: &Login) -> Result<Option<Identity>, TlsError> {
    let (certificate, key) = match (&login.ssl_cert, &login.ssl_key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => return Err(TlsError::HalfIdentity),
    };
    let chain = certificates(certificate, "client certificate")?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
        what: "client key",
        path: key.clone(),
        source,
    })?;
    Ok(Some((chain, key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoginOptions;

    fn refused(options: LoginOptions) -> TlsError {
        let login = Login::resolve(options, &|_| None).unwrap();
        connector(&login).err().unwrap()
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let gone =
            refused(LoginOptions { ca_cert: Some("/nonexistent".into()), ..Default::default() });
        assert_eq!(gone.to_string(), "could not read the root certificate \"/nonexistent\"");
        let empty =
            refused(LoginOptions { ca_cert: Some("/dev/null".into()), ..Default::default() });
        assert_eq!(
            empty.to_string(),
            "the root certificate file \"/dev/null\" holds no certificate"
        );
        let both = LoginOptions {
            ssl_cert: Some("/dev/null".into()),
            ssl_key: Some("/nonexistent".into()),
            ..Default::default()
        };
        assert_eq!(refused(both).to_string(), "could not read the client key \"/nonexistent\"");
        let half = LoginOptions { ssl_cert: Some("/dev/null".into()), ..Default::default() };
        assert_eq!(refused(half).to_string(), "ssl_cert and ssl_key must be given together");
        let other = TlsError::Refused(rustls::Error::General("x".into()));
        assert_eq!(other.to_string(), "could not set up TLS");
    }
}
