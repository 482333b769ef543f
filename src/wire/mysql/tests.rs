//! Packets byte by byte, and whatever else a server may send.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const NONCE: Nonce = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

/// As a server of MySQL 8 sends it.
fn greeting_packet(plugin: &str) -> Vec<u8> {
    let mut body = b"\x0a8.4.3\0\x07\0\0\0".to_vec();
    body.extend(&NONCE[..8]);
    body.extend(b"\0\xff\xff\xff\x02\0\xff\xdf\x15");
    body.extend([0; 10]);
    body.extend(&NONCE[8..]);
    body.push(0);
    body.extend(plugin.bytes());
    body.push(0);
    body
}

/// An answer to the question for `read_only`.
fn answer(row: &[u8]) -> Vec<u8> {
    let column = b"\x03def\0\0\0\x12@@global.read_only\0\x0c\x3f\0\x01\0\0\0\x08\x80\0\0\0\0";
    let end = b"\xfe\0\0\x02\0";
    [framed(1, &[1]), framed(2, column), framed(3, end), framed(4, row), framed(5, end)].concat()
}

#[test]
fn a_greeting_and_what_is_said_to_it() {
    let greeting = greeting(&greeting_packet("mysql_native_password")).unwrap().unwrap();
    let expected = Greeting { version: b"8.4.3".to_vec(), nonce: NONCE, plugin: b"mysql_native_password".to_vec() };
    assert_eq!(greeting, expected);
    let (plugin, response) = handshake_response(&greeting, 1, "me", b"password");
    assert_eq!(plugin, Plugin::Native);
    let expected = [
        b"\x4e\0\0\x01\0\x82\x08\0\0\0\0\x01\x2d".as_slice(),
        &[0; 23],
        b"me\0\x14",
        &native_scramble(b"password", &NONCE),
        b"mysql_native_password\0",
    ];
    assert_eq!(response.escape_ascii().to_string(), expected.concat().escape_ascii().to_string());
    let (_, empty) = handshake_response(&greeting, 1, "m\0e", b"");
    assert!(empty.ends_with(b"m\0\0mysql_native_password\0"), "{}", empty.escape_ascii());
}

/// The plugin that a server asks for first is used if it is known here.
#[test]
fn the_first_proof_is_by_a_plugin_that_is_known() {
    for (asked, used) in [("caching_sha2_password", Plugin::CachingSha2), ("client_ed25519", Plugin::Native)] {
        let greeting = greeting(&greeting_packet(asked)).unwrap().unwrap();
        let (plugin, response) = handshake_response(&greeting, 1, "me", b"pencil");
        assert_eq!(plugin, used);
        assert!(response.ends_with(format!("{}\0", used.name()).as_bytes()));
        let proof = used.proof(b"pencil", &NONCE);
        assert!(response.windows(proof.len()).any(|window| window == proof));
    }
}

/// What a server does: it keeps `SHA1(SHA1(password))`, which is what PASSWORD('password') gives, and undoes the proof.
#[test]
fn a_native_proof_convinces_a_server() {
    use sha1::{Digest as _, Sha1};
    let kept = "2470c0c06dee42fd1618bb99005adca2ec9d1e19";
    let kept: Vec<u8> = (0..20).map(|at| u8::from_str_radix(&kept[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mask = Sha1::new().chain_update(NONCE).chain_update(&kept).finalize();
    let once: Vec<u8> =
        native_scramble(b"password", &NONCE).iter().zip(mask).map(|(proof, mask)| proof ^ mask).collect();
    assert_eq!(Sha1::digest(once).to_vec(), kept);
}

/// Computed by another implementation of SHA-256.
#[test]
fn a_caching_sha2_proof() {
    let proof: String = sha2_scramble(b"pencil", &NONCE).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(proof, "804b188f4565dae5617113370e156183c91cfef6dd4714585f8d465f2150b271");
}

#[test]
fn a_server_that_does_not_greet_says_why() {
    let words = |body: &[u8]| greeting(body).unwrap().unwrap_err();
    let crowded = words(b"\xff\x10\x04Too many connections");
    assert_eq!((crowded.code, crowded.words.as_str()), (1040, "`1040: Too many connections`"));
    let blocked = words(b"\xff\x69\x04#HY000Host '10.0.0.1' is blocked");
    assert_eq!((blocked.code, blocked.words.as_str()), (1129, r"`1129 HY000: Host \'10.0.0.1\' is blocked`"));
    assert!(words(&[b"\xff\x10\x04".as_slice(), &[b'x'; 20_000]].concat()).words.len() < 200);
    for strange in [b"\xff\x10".as_slice(), b"\x09old", b"\x0a8.4.3", b"HTTP"] {
        assert!(greeting(strange).is_err(), "{}", strange.escape_ascii());
    }
    let mut old = greeting_packet("mysql_native_password");
    // Without plugins.
    let capabilities = 1 + 6 + 4 + 8 + 1;
    old[capabilities + 5] &= !0x08;
    assert!(greeting(&old).unwrap_err().0.contains("too old"));
}

#[test]
fn what_a_server_says_to_a_login() {
    assert_eq!(login(b"\0\0\0\x02\0\0\0"), Ok(Login::Ok));
    assert_eq!(login(b"\x01\x03"), Ok(Login::Proven));
    assert_eq!(login(b"\x01\x04"), Ok(Login::NeedsPassword));
    assert_eq!(login(b"\xfe"), Ok(Login::SwitchToOldest));
    let switch = [b"\xfemysql_native_password\0".as_slice(), &NONCE, b"\0"].concat();
    let Ok(Login::Switch { plugin, data }) = login(&switch) else { panic!() };
    assert_eq!(answer_to_switch(&plugin, &data, b"x"), Ok((Plugin::Native, native_scramble(b"x", &NONCE).to_vec())));
    assert!(answer_to_switch(&plugin, &data[..19], b"x").unwrap_err().0.contains("cut short"));
    assert!(answer_to_switch(b"client_ed25519", &data, b"x").unwrap_err().0.contains("`client_ed25519`"));
    let Ok(Login::Refused(refusal)) = login(b"\xff\x15\x04#28000Access denied") else { panic!() };
    assert_eq!((refusal.code, refusal.words.as_str()), (1045, "`1045 28000: Access denied`"));
    for strange in [b"".as_slice(), b"\x01", b"\x01\x05", b"\x02", b"\xfeplugin", b"\xff\x01"] {
        assert!(login(strange).is_err(), "{}", strange.escape_ascii());
    }
}

#[test]
fn one_value() {
    let found = |bytes: &[u8]| value(bytes).unwrap().unwrap();
    assert_eq!(found(&answer(b"\x011")), (Ok(Some(b"1".to_vec())), answer(b"\x011").len()));
    assert_eq!(found(&answer(b"\xfb")).0, Ok(None));
    let refused = framed(1, b"\xff\xa9\x04#HY000Unknown system variable");
    assert_eq!(found(&refused).1, refused.len());
    assert_eq!(found(&refused).0.unwrap_err().code, 1193);
    let later = framed(4, b"\xff\x25\x05#70100Query execution was interrupted");
    let (complete, row_and_end) = (answer(b"\x011"), 4 + 2 + 4 + 5);
    let broken = [&complete[..complete.len() - row_and_end], &later].concat();
    assert_eq!(found(&broken).0.unwrap_err().code, 1317);
    for row in [b"\x021".as_slice(), b"\x01", b"\x0111", b"\xfc\x01\x001", b"\xfe\0\0\x02\0"] {
        assert!(value(&answer(row)).is_err(), "{}", row.escape_ascii());
    }
    for first in [b"\0\0\0\x02\0\0\0".as_slice(), &[2], &[0xfb]] {
        assert!(value(&framed(1, first)).is_err(), "{}", first.escape_ascii());
    }
    assert_eq!(query("SELECT 1"), b"\x09\0\0\0\x03SELECT 1");
}

#[test]
fn a_packet_has_a_length_that_can_be() {
    let longest = framed(3, &[7; LONGEST]);
    assert_eq!(packet(&longest).unwrap().unwrap().1, LONGEST + 4);
    for wrong in [b"\0\0\0\0".as_slice(), b"\x01\x80\0\0", b"\xff\xff\xff\0", b"HTTP", b"SSH-", b"-ERR"] {
        assert!(packet(wrong).is_err(), "{}", wrong.escape_ascii());
    }
}

/// However the bytes arrive.
#[test]
fn a_packet_is_one_only_when_all_of_it_is_there() {
    let (greeting, answer) = (framed(0, &greeting_packet("x")), answer(b"\x010"));
    for end in 0..greeting.len() {
        assert_eq!(packet(&greeting[..end]), Ok(None));
    }
    for end in 0..answer.len() {
        assert_eq!(value(&answer[..end]), Ok(None), "{end}");
    }
    assert_eq!(value(&[&answer[..], b"more"].concat()), Ok(Some((Ok(Some(b"0".to_vec())), answer.len()))));
}

fn all_of_it(bytes: &[u8]) {
    let _ = packet(bytes).map(|found| found.map(|(_, taken)| assert!(taken <= bytes.len())));
    let _ = value(bytes).map(|found| found.map(|(_, taken)| assert!(taken <= bytes.len())));
    let _ = greeting(bytes);
    let _ = login(bytes);
}

proptest! {
    #[test]
    fn nothing_a_server_sends_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        all_of_it(&bytes);
        all_of_it(&framed(0, &bytes));
    }

    #[test]
    fn nor_does_what_is_nearly_right(end in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with: u8) {
        for mut bytes in [greeting_packet("caching_sha2_password"), answer(b"\x011"), b"\xfeplugin\0nonce".to_vec()] {
            let at = at.index(bytes.len());
            bytes[at] = with;
            all_of_it(&bytes);
            bytes.truncate(end.index(bytes.len()));
            all_of_it(&bytes);
        }
    }
}
