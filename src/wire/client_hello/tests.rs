//! Hellos as clients send them, as nobody should, and in pieces.

use std::io::Read;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection};

use super::*;

/// A message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[HANDSHAKE, MAJOR, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    message.chunks(size).flat_map(record).collect()
}

fn message_of(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// The body of a hello of TLS 1.2 with these bytes for extensions.
fn body_with(extensions: &[u8]) -> Vec<u8> {
    [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], extensions].concat()
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(value)].concat()
}

fn hello_with(extensions: &[Vec<u8>]) -> Vec<u8> {
    records(&message_of(CLIENT_HELLO, &body_with(&prefixed(&extensions.concat()))), LONGEST_RECORD)
}

/// The extension that names hosts, with names of these kinds.
fn named(names: &[(u8, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|(kind, name)| [&[*kind][..], &prefixed(name)].concat()).collect();
    extension(SERVER_NAME, &prefixed(&list))
}

fn offered(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|name| [&[name.len() as u8][..], name].concat()).collect();
    extension(ALPN, &prefixed(&list))
}

fn read(bytes: &[u8]) -> Hello {
    match client_hello(bytes) {
        Glimpse::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> String {
    match client_hello(bytes) {
        Glimpse::Malformed(Malformed(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// What a real client sends first, in one record.
fn real(name: &str, alpn: &[&[u8]], versions: &[&'static rustls::SupportedProtocolVersion]) -> Vec<u8> {
    #[derive(Debug)]
    struct Anyone;
    impl rustls::client::danger::ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let mut client = ClientConnection::new(config.into(), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent).unwrap();
    }
    sent
}

/// The message inside records.
fn unwrapped(bytes: &[u8]) -> Vec<u8> {
    Records(bytes).map(Result::unwrap).collect::<Vec<_>>().concat()
}

const NEWEST: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What rustls makes of it: name and protocols, None while it wants more.
type Theirs = Result<Option<(Option<String>, Vec<Vec<u8>>)>, rustls::Error>;

fn theirs(mut bytes: &[u8]) -> Theirs {
    let mut acceptor = Acceptor::default();
    loop {
        let fed = if bytes.is_empty() { 0 } else { acceptor.read_tls(&mut (&mut bytes).take(4096)).unwrap() };
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let alpn = hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect());
                return Ok(Some((hello.server_name().map(str::to_owned), alpn.unwrap_or_default())));
            }
            Ok(None) if fed == 0 => return Ok(None),
            Ok(None) => {}
            Err((error, _)) => return Err(error),
        }
    }
}

#[test]
fn a_real_client_is_read() {
    let hello = read(&real("DB.Example.com", &[b"h2", b"http/1.1"], NEWEST));
    assert_eq!(hello.server_name.as_deref(), Some("db.example.com"));
    assert_eq!(hello.alpn, [b"h2".as_slice().into(), b"http/1.1".as_slice().into()] as [Box<[u8]>; 2]);
    assert_eq!(hello.version, 0x0304);
    let hello = read(&real("192.0.2.1", &[], &[&rustls::version::TLS12]));
    assert_eq!(hello, Hello { server_name: None, alpn: Vec::new(), version: 0x0303 });
}

#[test]
fn a_hello_that_a_server_would_refuse_is_read_all_the_same() {
    // SSL 3 with a cipher of export strength and without extensions; lists of versions and keys that nobody knows.
    let old = [&[3, 0][..], &[9; 32], &[32], &[1; 32], &[0, 2, 0, 3], &[1, 0]].concat();
    assert_eq!(read(&records(&message_of(CLIENT_HELLO, &old), 50)), Hello { version: 0x0300, ..Hello::default() });
    let grease =
        [extension(0x0a0a, b""), extension(0x1a1a, b"x"), extension(SUPPORTED_VERSIONS, &[4, 0x7a, 0x7a, 3, 1])];
    let encrypted = extension(0xfe0d, &[0; 300]);
    let hello =
        read(&hello_with(&[grease.concat(), encrypted, named(&[(0, b"outer.example")]), offered(&[b"\x8a\x8a"])]));
    assert_eq!(hello.server_name.as_deref(), Some("outer.example"));
    assert_eq!((hello.version, hello.alpn.len()), (0x0301, 1));
}

#[test]
fn what_is_not_tls_is_known_by_its_first_bytes() {
    assert_eq!(client_hello(b""), Glimpse::NeedMore);
    assert_eq!(client_hello(&[HANDSHAKE]), Glimpse::NeedMore);
    let greeting_of_ssl_2 = [0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10];
    for bytes in [&b"GET / HTTP/1.1"[..], b"\x16\x02", b"\x15\x03\x01", b"SSH-2.0-x", b"\0", &greeting_of_ssl_2] {
        assert_eq!(client_hello(bytes), Glimpse::NotTls, "{bytes:?}");
        assert_eq!(client_hello(&[bytes, &[0; 2 * LONGEST]].concat()), Glimpse::NotTls);
    }
}

#[test]
fn names_are_hosts_in_one_spelling() {
    let name = |name: &[u8]| read(&hello_with(&[named(&[(0, name)])])).server_name;
    assert_eq!(name(b"Db.EXAMPLE.com.").as_deref(), Some("db.example.com"));
    for address in [&b"192.0.2.1"[..], b"192.0.2.1.", b"2001:db8::1", b"::ffff:192.0.2.1"] {
        assert_eq!(name(address), None, "{address:?}");
    }
    let longest = format!("{}.bc", ["abc"; 62].join(".").replacen("abc", "abcd", 3));
    assert_eq!(name(longest.as_bytes()).as_deref(), Some(longest.as_str()));
    for bad in [&b""[..], b"a\0.example", b"a b", b"a..b", b"\xff", b"a\n", &[b'a'; 255], &[b'a'; 64], b"*.example"] {
        let error = refused(&hello_with(&[named(&[(0, bad)])]));
        assert!(
            error.contains("no host name") && error.len() < 700 && error.is_ascii() == (bad.len() < 120),
            "{error}"
        );
    }
}

#[test]
fn what_two_readers_could_take_for_two_things_is_malformed() {
    let one = named(&[(0, b"a.example")]);
    for (extensions, why) in [
        (vec![named(&[(0, b"a.example"), (0, b"b.example")])], "two host names"),
        (vec![one.clone(), one.clone()], "the same extension twice"),
        (vec![extension(5, b""), one.clone(), extension(5, b"")], "the same extension twice"),
        (vec![named(&[])], "a list of names that is cut"),
        (vec![extension(SERVER_NAME, b"")], "a list of names that is cut"),
        (vec![extension(SERVER_NAME, &[prefixed(&[0, 0, 1, b'a']), vec![0]].concat())], "a list of names that is cut"),
        (vec![extension(SERVER_NAME, &[0, 4, 0, 0, 2, b'a'])], "a list of names that is cut"),
        (vec![offered(&[])], "a list of protocols that is cut"),
        (vec![offered(&[b""])], "a list of protocols that is cut"),
        (vec![offered(&[b"x".as_slice(); MOST_PROTOCOLS + 1])], "more protocols than any client speaks"),
        (vec![extension(SUPPORTED_VERSIONS, &[3, 3, 4, 3])], "a list of versions that is cut"),
        (vec![vec![0, 0, 0, 9, 1]], "an extension that is cut"),
    ] {
        assert_eq!(refused(&hello_with(&extensions)), format!("a ClientHello with {why}"));
    }
    assert_eq!(read(&hello_with(&[named(&[(7, b"?"), (0, b"a.example")])])).server_name.as_deref(), Some("a.example"));
    assert_eq!(read(&hello_with(&[offered(&[b"x".as_slice(); MOST_PROTOCOLS])])).alpn.len(), MOST_PROTOCOLS);
}

#[test]
fn lengths_fit_or_it_is_malformed() {
    let of = |body: &[u8]| refused(&records(&message_of(CLIENT_HELLO, body), LONGEST_RECORD));
    let good = body_with(&prefixed(&named(&[(0, b"a.example")])));
    let changed = |at: usize, to: u8| -> Vec<u8> {
        let mut body = good.clone();
        body[at] = to;
        body
    };
    let lengths = "a ClientHello with a session id, ciphers or compression methods of a length that cannot be";
    assert_eq!(of(&[&[3, 3][..], &[7; 32], &[33], &[0; 33], &[0, 2, 0, 0, 1, 0]].concat()), lengths);
    assert_eq!(of(&[&[3, 3][..], &[7; 32], &[0], &[0, 3, 0, 0, 0, 1, 0]].concat()), lengths);
    assert_eq!(of(&[&[3, 3][..], &[7; 32], &[0], &[0, 0, 1, 0]].concat()), lengths);
    assert_eq!(of(&[&[3, 3][..], &[7; 32], &[0], &[0, 2, 0, 0, 0]].concat()), lengths);
    let end = "a ClientHello with extensions that do not end where it does";
    assert_eq!(of(&[&good[..], &[0]].concat()), end);
    assert_eq!(of(&changed(42, 0x01)), end);
    assert_eq!(of(&good[..34]), "a ClientHello with too few bytes");
}

#[test]
fn records_hold_a_hello_and_nothing_else_until_its_end() {
    let message = message_of(CLIENT_HELLO, &body_with(&prefixed(&named(&[(0, b"a.example")]))));
    let (front, back) = message.split_at(20);
    let with = |between: &[u8]| [&records(front, 64)[..], between, &records(back, 64)].concat();
    assert_eq!(read(&with(b"")).server_name.as_deref(), Some("a.example"));
    for (between, why) in [
        (&[21, 3, 1, 0, 2, 1, 0][..], "something else between its records"),
        (&[23, 3, 3], "something else between its records"),
        (&[22, 3, 1, 0, 0], "a record that is empty or longer than 16 KiB"),
        (&[22, 3, 1, 0x40, 1], "a record that is empty or longer than 16 KiB"),
    ] {
        assert_eq!(refused(&with(between)), format!("a ClientHello with {why}"));
    }
    assert_eq!(refused(&records(&message_of(2, b"x"), 64)), "TLS begins with a message of type 2");
    // What follows is the server's to judge.
    assert_eq!(read(&[&records(&message, 64)[..], b"\x15garbage"].concat()).server_name.as_deref(), Some("a.example"));
}

#[test]
fn a_hello_ends_within_the_limit_or_never_will() {
    let padded = |room: usize| {
        let name = named(&[(0, b"a.example")]);
        hello_with(&[name.clone(), extension(21, &vec![0; room])])
    };
    let empty = padded(0).len();
    let longest = padded(LONGEST - empty - RECORD_HEADER);
    let record = |message: &[u8]| records(message, LONGEST_RECORD);
    assert_eq!(read(&longest[..]).server_name.as_deref(), Some("a.example"), "{}", longest.len());
    let long = record(&unwrapped(&padded(LONGEST - empty + RECORD_HEADER)));
    let why = "a ClientHello that does not end within 16384 bytes";
    assert_eq!(refused(&long), why);
    assert_eq!(client_hello(&long[..LONGEST - 1]), Glimpse::NeedMore);
    assert_eq!(refused(&long[..LONGEST]), why);
    // A length that cannot be met is not waited for.
    assert_eq!(refused(&[22, 3, 1, 0, 9, 1, 1]), why);
    assert_eq!(refused(&[22, 3, 1, 0, 9, 1, 0, 0x40, 1]), why);
    assert_eq!(client_hello(&[22, 3, 1, 0, 9, 1, 0, 0x40, 0]), Glimpse::NeedMore);
    let slow = records(&unwrapped(&real("a.example", &[], NEWEST)), 1);
    assert_eq!(read(&slow).server_name.as_deref(), Some("a.example"));
}

/// Every beginning of `bytes` is either undecided or says what the whole says.
fn same_at_every_split(bytes: &[u8]) {
    let whole = client_hello(bytes);
    let mut decided = false;
    for end in 0..=bytes.len() {
        let so_far = client_hello(&bytes[..end]);
        decided |= so_far != Glimpse::NeedMore;
        assert!(!decided || so_far == whole, "{end} of {}: {so_far:?}, {whole:?}", bytes.len());
    }
}

fn a_real_hello() -> impl Strategy<Value = Vec<u8>> {
    let name = "[a-zA-Z][a-zA-Z0-9]{0,20}(\\.[a-zA-Z][a-zA-Z0-9-]{0,20}[a-z]){0,4}";
    let alpn = vec(vec(any::<u8>(), 1..20), 0..5);
    let versions = prop_oneof![Just(NEWEST), Just(&NEWEST[..1]), Just(&NEWEST[1..])];
    (name, alpn, versions, 1..600_usize).prop_map(|(name, alpn, versions, size)| {
        let alpn: Vec<&[u8]> = alpn.iter().map(Vec::as_slice).collect();
        records(&unwrapped(&real(&name, &alpn, versions)), size)
    })
}

/// The two readings agree, wherever both have one.
fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    match (client_hello(bytes), theirs(bytes)) {
        (Glimpse::Hello(ours), Ok(Some((name, alpn)))) => {
            let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
            prop_assert_eq!(ours.server_name.as_deref(), name.as_deref());
            prop_assert_eq!(ours.alpn.iter().map(|one| one.to_vec()).collect::<Vec<_>>(), alpn);
        }
        (Glimpse::NeedMore, Ok(None) | Err(_)) => {}
        // A record that goes on behind the hello is waited for there.
        (Glimpse::Hello(_), Ok(None)) => {}
        // They may judge what we leave to the server, and stop at less; and the other way round.
        (Glimpse::Hello(_) | Glimpse::NotTls, Err(_)) | (Glimpse::Malformed(_), _) => {}
        (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn real_hellos_mean_what_they_mean_to_rustls(bytes in a_real_hello(), more in vec(any::<u8>(), 0..50)) {
        prop_assert!(matches!(client_hello(&bytes), Glimpse::Hello(_)));
        prop_assert!(matches!(theirs(&bytes), Ok(Some(_))));
        agrees(&bytes)?;
        prop_assert_eq!(client_hello(&[&bytes[..], &more].concat()), client_hello(&bytes));
        same_at_every_split(&bytes[..bytes.len().min(2500)]);
    }

    #[test]
    fn hellos_that_were_tampered_with_never_mean_two_things(
        bytes in a_real_hello(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes;
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        agrees(&bytes)?;
        same_at_every_split(&bytes[..bytes.len().min(2500)]);
    }

    #[test]
    fn any_bytes_at_all_are_borne(bytes in vec(any::<u8>(), 0..400), size in 1..80_usize) {
        same_at_every_split(&bytes);
        same_at_every_split(&records(&message_of(CLIENT_HELLO, &bytes), size));
        same_at_every_split(&hello_with(&[bytes]));
    }
}
