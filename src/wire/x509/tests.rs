//! Certificates and lists that were made for the test, and what is none.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use proptest::prelude::*;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::*;

fn signed(params: &CertificateParams) -> Vec<u8> {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn names_and_the_end_are_read() {
    let mut params = CertificateParams::new(["a.example".to_owned(), "*.b.example".into()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://prod/web".try_into().unwrap()));
    params.subject_alt_names.push(SanType::Rfc822Name("me@x.example".try_into().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress("192.0.2.1".parse().unwrap()));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "org");
    params.distinguished_name.push(DnType::CommonName, "näme");
    params.not_after = date_time_ymd(2031, 2, 28);
    let read = Certificate::read(&signed(&params)).unwrap();
    assert_eq!(read.dns, ["a.example", "*.b.example"]);
    assert_eq!(read.addresses, 1);
    assert_eq!(read.common_name.as_deref(), Some("näme"));
    assert_eq!(read.not_after, 1_930_003_200);
    let names: Vec<_> = read.names().collect();
    assert_eq!(names, ["spiffe://prod/web", "a.example", "*.b.example", "me@x.example"]);
}

#[test]
fn dates_are_days_since_1970() {
    for (date, days) in [
        ((1970, 1, 1), 0),
        ((1969, 12, 31), -1),
        ((2000, 2, 29), 11_016),
        ((2000, 3, 1), 11_017),
        ((2100, 3, 1), 47_541),
    ] {
        assert_eq!(days_before(date.0, date.1, date.2), days, "{date:?}");
    }
    let at = |tag: u8, text: &str| time(&mut Fields(&[&[tag, text.len() as u8], text.as_bytes()].concat()));
    assert_eq!(at(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
    assert_eq!(at(UTC_TIME, "500101000000Z"), Some(-631_152_000));
    assert_eq!(at(GENERAL_TIME, "20500101000000Z"), Some(2_524_608_000));
    assert_eq!(at(GENERAL_TIME, "99991231235959Z"), Some(253_402_300_799));
    for bad in ["500101000000", "5001010000Z", "50010100000xZ", "500101000000+0100", "äöüäöüZ", "Z"] {
        assert_eq!(at(UTC_TIME, bad), None, "{bad}");
    }
}

#[test]
fn what_a_peer_makes_is_cut() {
    let many = (0..1000).map(|n| format!("h{n}.example"));
    let read = Certificate::read(&signed(&CertificateParams::new(many.collect::<Vec<_>>()).unwrap())).unwrap();
    assert_eq!(read.dns.len(), MOST_NAMES);
    let mut params = CertificateParams::default();
    params.subject_alt_names = ["x".repeat(LONGEST_NAME), "y".repeat(LONGEST_NAME + 1), "a\n".into(), "b".into()]
        .map(|name| SanType::URI(name.try_into().unwrap()))
        .into();
    let read = Certificate::read(&signed(&params)).unwrap();
    assert_eq!(read.uris.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_NAME, 1]);
}

#[test]
fn lists_say_when_they_are_out_of_date() {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::CrlSign];
    let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2050, 1, 1),
        crl_number: 1u64.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let der = list.signed_by(&issuer).unwrap().der().to_vec();
    assert_eq!(next_update(&der), Some(Some(2_524_608_000)));
    assert_eq!(next_update(&signed(&CertificateParams::default())), None);
    assert_eq!(next_update(b""), None);
}

proptest! {
    #[test]
    fn nothing_panics(mut der in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300, byte: u8, real: bool) {
        if real {
            der = signed(&CertificateParams::new(["a.example".to_owned()]).unwrap());
            let at = at % der.len();
            der[at] = byte;
        }
        let _ = Certificate::read(&der);
        let _ = next_update(&der);
        let _ = Certificate::read(&der[..at % (der.len() + 1)]);
    }
}
