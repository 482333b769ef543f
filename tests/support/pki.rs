//! Authorities, certificates and lists of revoked ones, made anew for each test.
#![allow(dead_code, clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SignatureAlgorithm, date_time_ymd,
};

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    serials: AtomicU64,
}

/// A certificate to be: valid from 2020 to 2099 unless it says otherwise.
#[derive(Clone)]
pub(crate) struct Wish {
    names: Vec<String>,
    uris: Vec<String>,
    emails: Vec<String>,
    common_name: String,
    until: i32,
    kind: &'static SignatureAlgorithm,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) serial: u64,
}

impl Wish {
    /// For these host names.
    pub(crate) fn names<S: ToString>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            names: names.into_iter().map(|name| name.to_string()).collect(),
            uris: Vec::new(),
            emails: Vec::new(),
            common_name: "someone".into(),
            until: 2099,
            kind: &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }

    pub(crate) fn uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.into());
        self
    }

    pub(crate) fn email(mut self, email: &str) -> Self {
        self.emails.push(email.into());
        self
    }

    pub(crate) fn common_name(self, name: &str) -> Self {
        Self { common_name: name.into(), ..self }
    }

    /// It ends with the year's first second.
    pub(crate) fn until(self, year: i32) -> Self {
        Self { until: year, ..self }
    }

    pub(crate) fn kind(self, kind: &'static SignatureAlgorithm) -> Self {
        Self { kind, ..self }
    }

    fn params(&self, serial: u64) -> CertificateParams {
        let mut params = CertificateParams::new(self.names.clone()).unwrap();
        let uris = self.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let emails = self.emails.iter().map(|email| SanType::Rfc822Name(email.as_str().try_into().unwrap()));
        params.subject_alt_names.extend(uris.chain(emails));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, &self.common_name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(self.until, 1, 1);
        params.serial_number = Some(serial.into());
        params
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::KeyCertSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, serials: AtomicU64::new(1) }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn issue(&self, wish: &Wish) -> Issued {
        let key = KeyPair::generate_for(wish.kind).unwrap();
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let cert = wish.params(serial).signed_by(&key, &self.issuer).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem(), serial }
    }

    /// Its list of revoked certificates, which is to be replaced in the given year.
    pub(crate) fn revokes(&self, revoked: &[&Issued], until: i32) -> String {
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.into(),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Issued {
    /// Leaves both in `dir`, as `NAME.pem` and `NAME.key`.
    pub(crate) fn save(&self, dir: &Path, name: &str) -> [PathBuf; 2] {
        let files = ["pem", "key"].map(|extension| dir.join(format!("{name}.{extension}")));
        std::fs::write(&files[0], &self.cert).unwrap();
        std::fs::write(&files[1], &self.key).unwrap();
        files
    }
}
