//! Messages byte by byte, and whatever else a server may send.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// A message of a server's.
fn sent(kind: u8, body: &[u8]) -> Vec<u8> {
    framed(kind, body)
}

fn whole(bytes: &[u8]) -> Message {
    let (message, taken) = message(bytes).unwrap().unwrap();
    assert_eq!(taken, bytes.len());
    message
}

fn words(bytes: &[u8]) -> String {
    match whole(bytes) {
        Message::Error(refusal) => refusal.words,
        other => panic!("{other:?}"),
    }
}

/// One of each, as PostgreSQL 15 sends them.
fn transcript() -> Vec<Vec<u8>> {
    vec![
        sent(b'R', b"\0\0\0\x05salt"),
        sent(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
        sent(b'R', b"\0\0\0\x0br=x,s=eA==,i=4096"),
        sent(b'R', b"\0\0\0\x0cv=eA=="),
        sent(b'R', b"\0\0\0\0"),
        sent(b'S', b"in_hot_standby\0off\0"),
        sent(b'K', b"\0\0\x10\0abcd"),
        sent(b'Z', b"I"),
        sent(b'T', b"\0\x01pg_is_in_recovery\0\0\0\0\0\0\0\0\0\0\x10\0\x01\xff\xff\xff\xff\0\0"),
        sent(b'D', b"\0\x01\0\0\0\x01f"),
        sent(b'C', b"SELECT 1\0"),
        sent(b'E', b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0Fpostmaster.c\0\0"),
    ]
}

#[test]
fn what_we_say_byte_by_byte() {
    assert_eq!(GSSENC_REQUEST, *b"\0\0\0\x08\x04\xd2\x16\x30");
    let expected = b"\0\0\0\x35\0\x03\0\0user\0me\0application_name\0peerway\0database\0d\0\0";
    assert_eq!(startup("me", Some("d")).escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(startup("m\0e", None), b"\0\0\0\x29\0\x03\0\0user\0m\0application_name\0peerway\0\0");
    assert_eq!(query("SELECT 1"), b"Q\0\0\0\x0dSELECT 1\0");
    assert_eq!(password(b"secret"), b"p\0\0\0\x0bsecret\0");
    assert_eq!(sasl_initial("X", b"n,,"), b"p\0\0\0\x0dX\0\0\0\0\x03n,,");
    assert_eq!(sasl_response(b"c="), b"p\0\0\0\x06c=");
    assert_eq!(TERMINATE, *b"X\0\0\0\x04");
}

/// Computed by another implementation of MD5.
#[test]
fn an_answer_to_md5() {
    assert_eq!(md5_answer("peer", b"secret", [1, 2, 3, 4]), b"md59a094c876a2c01d6b0d91a7c055eeb99");
}

#[test]
fn what_a_server_says() {
    let found: Vec<Message> = transcript().iter().map(|bytes| whole(bytes)).collect();
    let both = vec![b"SCRAM-SHA-256-PLUS".to_vec(), b"SCRAM-SHA-256".to_vec()];
    let refusal =
        Refusal { code: b"57P03".to_vec(), words: "`FATAL 57P03: the database system is starting up`".to_owned() };
    let expected = [
        Message::Authentication(Authentication::Md5(*b"salt")),
        Message::Authentication(Authentication::Sasl(both)),
        Message::Authentication(Authentication::SaslContinue(b"r=x,s=eA==,i=4096".to_vec())),
        Message::Authentication(Authentication::SaslFinal(b"v=eA==".to_vec())),
        Message::Authentication(Authentication::Ok),
        Message::Parameter { name: b"in_hot_standby".to_vec(), value: b"off".to_vec() },
        Message::Other,
        Message::Ready,
        Message::Other,
        Message::Row(Some(b"f".to_vec())),
        Message::Other,
        Message::Error(refusal),
    ];
    assert_eq!(found, expected);
    assert_eq!(whole(&sent(b'R', b"\0\0\0\x03")), Message::Authentication(Authentication::Cleartext));
    assert_eq!(whole(&sent(b'R', b"\0\0\0\x07")), Message::Authentication(Authentication::Other(7)));
    assert_eq!(whole(&sent(b'D', b"\0\x02\xff\xff\xff\xff\0\0\0\x01f")), Message::Row(None));
    assert_eq!(whole(&sent(b'D', b"\0\0")), Message::Row(None));
}

#[test]
fn errors_come_in_words() {
    // As 9.5 and older have it, and translated.
    assert_eq!(words(&sent(b'E', b"SFATAL\0C28000\0Mno\0\0")), "`FATAL 28000: no`");
    let translated = sent(b'E', "SFATAL\0C28000\0Mn\u{e9}\n\0VFATAL\0SFEHLER\0\0".as_bytes());
    assert_eq!(words(&translated), r"`FATAL 28000: n\xc3\xa9\n`");
    let long = words(&sent(b'E', &[b"M".as_slice(), &[b'x'; 20_000], b"\0\0"].concat()));
    assert!(long.len() < 200, "{long}");
    // What the postmaster says when it cannot fork, in the words of protocol 2.
    let old = b"Ecould not fork new process for connection: Cannot allocate memory\n\0";
    assert_eq!(words(old), "`could not fork new process for connection: Cannot allocate memory`");
}

#[test]
fn the_answer_about_encryption() {
    assert_eq!(encryption(b""), Ok(None));
    assert_eq!(encryption(b"N"), Ok(Some((Ok(()), 1))));
    assert_eq!(encryption(b"G"), Ok(Some((Ok(()), 1))));
    let refused = encryption(&sent(b'E', b"SFATAL\0C0A000\0Munsupported frontend protocol\0\0")).unwrap().unwrap().0;
    assert_eq!(refused.unwrap_err().code, b"0A000");
    for other in ["S", "HTTP/1.1 400 Bad Request", "SSH-2.0-OpenSSH", "-ERR"] {
        assert!(encryption(other.as_bytes()).unwrap_err().0.starts_with("not PostgreSQL"), "{other}");
    }
}

#[test]
fn what_is_no_message_is_refused_at_once() {
    let too_long = [b"R".as_slice(), &(LONGEST as u32 + 1).to_be_bytes()].concat();
    for bytes in [b"HTTP/1.1".as_slice(), b"SSH-2.0-", b"R\0\0\0\x03", b"S\xff\xff\xff\xff", &too_long] {
        assert!(message(bytes).is_err(), "{}", bytes.escape_ascii());
    }
    assert!(message(&[b"E".as_slice(), &[b'x'; LONGEST + 1]].concat()).is_err());
    let senseless = [
        sent(b'R', b"\0\0"),
        sent(b'R', b"\0\0\0\x05sal"),
        sent(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0"),
        sent(b'S', b"name"),
        sent(b'S', b"name\0value"),
        sent(b'E', b"SFATAL\0"),
        sent(b'E', b"SFATAL"),
        sent(b'D', b"\0\x01\0\0\0\x02f"),
        sent(b'D', b"\0\x01\x80\0\0\0f"),
        sent(b'D', b"\0"),
    ];
    for bytes in senseless {
        assert!(message(&bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

/// However the bytes arrive.
#[test]
fn a_message_is_one_only_when_all_of_it_is_there() {
    for bytes in transcript() {
        for end in 0..bytes.len() {
            assert_eq!(message(&bytes[..end]), Ok(None), "{}", bytes[..end].escape_ascii());
        }
        let (alone, followed) = (whole(&bytes), [&bytes[..], b"Z"].concat());
        assert_eq!(message(&followed), Ok(Some((alone, bytes.len()))));
    }
}

proptest! {
    #[test]
    fn nothing_a_server_sends_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = message(&bytes);
        let _ = encryption(&bytes);
    }

    #[test]
    fn nor_does_what_is_nearly_right(which in 0..12_usize, at in any::<prop::sample::Index>(), with: u8) {
        let mut bytes = transcript().swap_remove(which);
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(Some((_, taken))) = message(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn nor_a_challenge_of_scram(text in "(r=xyz|r=x|r=)[ -~]{0,20},s=[A-Za-z=]{0,8},i=[0-9]{0,12}[ -~]{0,9}") {
        if let Ok(challenge) = scram::Exchange::new("", "xyz").challenged(text.as_bytes()) {
            let _ = challenge.salting(b"p").advance(10);
        }
    }
}
