//! Certificates of clients: who is asked for one, and who verifies it.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, CommonState, Error};

use crate::config::plan::ClientAuth;
use crate::tls::files::{self, Unusable};
use crate::tls::tickets::Binding;
use crate::wire::x509;

/// Who is asked for a certificate, and by whom it is verified.
pub(super) struct Auth {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    optional: bool,
}

impl Auth {
    /// Also gives what tickets are bound to.
    pub(super) fn load(
        settings: &ClientAuth,
        listener: &str,
        provider: &Arc<CryptoProvider>,
        warnings: &mut Vec<String>,
    ) -> Result<(Self, Binding), Unusable> {
        let ClientAuth { ca, optional, crl, accept_expired_crl } = settings;
        let roots = Arc::new(files::authorities(ca).map_err(Unusable)?);
        let mut lists = Vec::new();
        for path in crl {
            let of_file = files::revocations(path).map_err(Unusable)?;
            warnings.extend(files::overdue(&of_file, path, files::now()));
            lists.extend(of_file);
        }
        let binding = {
            let demands = [u8::from(*optional), u8::from(*accept_expired_crl)];
            let anchors = roots.roots.iter().flat_map(|root| {
                let constraints = root.name_constraints.as_ref().map(|der| der.as_ref());
                [root.subject.as_ref(), root.subject_public_key_info.as_ref(), constraints.unwrap_or_default()]
            });
            let parts = [listener.as_bytes(), &demands, &roots.len().to_be_bytes()];
            Binding::new(parts.into_iter().chain(anchors).chain(lists.iter().map(|list| list.as_ref())))
        };
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).with_crls(lists);
        if !accept_expired_crl {
            builder = builder.enforce_revocation_expiration();
        }
        if *optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| Unusable(format!("{}: {error}", ca.display())))?;
        Ok((Self { verifier, optional: *optional }, binding))
    }

    /// The certificate that the client has shown, if it has and need not.
    pub(super) fn certificate(&self, session: &CommonState, resumed: bool) -> Result<Option<x509::Certificate>, Error> {
        let chain = session.peer_certificates().unwrap_or_default();
        let Some((own, issuers)) = chain.split_first() else {
            return if self.optional { Ok(None) } else { Err(Error::NoCertificatesPresented) };
        };
        if resumed {
            self.verifier.verify_client_cert(own, issuers, UnixTime::now())?;
        }
        let read = x509::Certificate::read(own);
        read.map(Some).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
    }
}
