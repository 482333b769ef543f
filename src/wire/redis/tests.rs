//! Replies byte by byte, and whatever else a server may send.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const PRIMARY: &[u8] =
    b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n";
const REPLICA: &[u8] = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:3167038\r\n";

fn whole(bytes: &[u8]) -> Reply {
    let (reply, taken) = reply(bytes).unwrap().unwrap();
    assert_eq!(taken, bytes.len());
    reply
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(Some(text.as_bytes().to_vec()))
}

#[test]
fn a_command_byte_by_byte() {
    assert_eq!(command(&[b"AUTH", b"a\r\nb", b""]), b"*3\r\n$4\r\nAUTH\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
}

#[test]
fn every_kind_of_reply() {
    assert_eq!(whole(b"+PONG\r\n"), Reply::Simple(b"PONG".to_vec()));
    assert_eq!(
        whole(b"-NOAUTH Authentication required.\r\n"),
        Reply::Error(b"NOAUTH Authentication required.".to_vec())
    );
    assert_eq!(whole(b":-7\r\n"), Reply::Integer(-7));
    assert_eq!(whole(b"$4\r\na\r\nb\r\n"), bulk("a\r\nb"));
    assert_eq!(whole(b"$0\r\n\r\n"), bulk(""));
    assert_eq!((whole(b"$-1\r\n"), whole(b"*-1\r\n")), (Reply::Bulk(None), Reply::Array(None)));
    assert_eq!(whole(b"*2\r\n*0\r\n:1\r\n"), Reply::Array(Some(vec![Reply::Array(Some(vec![])), Reply::Integer(1)])));
}

#[test]
fn what_a_server_is() {
    let replica = |follows, link: &str| Role::Replica { follows, link: link.as_bytes().to_vec() };
    let said = |state: &str| {
        let line = format!("${}\r\n{state}\r\n", state.len());
        role(&whole(String::from_utf8_lossy(REPLICA).replace("$9\r\nconnected\r\n", &line).as_bytes())).unwrap()
    };
    assert_eq!(role(&whole(PRIMARY)), Ok(Role::Primary));
    assert_eq!(role(&whole(b"*1\r\n+master\r\n")), Ok(Role::Primary));
    assert_eq!(said("connected"), replica(true, "connected"));
    for state in ["connect", "connecting", "sync", "handshake", ""] {
        assert_eq!(said(state), replica(false, state));
    }
    assert_eq!(role(&whole(b"*2\r\n$8\r\nsentinel\r\n*0\r\n")), Ok(Role::Other(b"sentinel".to_vec())));
    for strange in [b"*0\r\n".as_slice(), b"*-1\r\n", b"+master\r\n", b"*1\r\n:1\r\n", b"*1\r\n$5\r\nslave\r\n"] {
        assert!(role(&whole(strange)).is_err(), "{}", strange.escape_ascii());
    }
    let info = |lines: &str| role_from_info(lines.as_bytes());
    assert_eq!(info("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"), Ok(Role::Primary));
    assert_eq!(info("role:slave\r\nmaster_host:x\r\nmaster_link_status:up\r\n"), Ok(replica(true, "up")));
    assert_eq!(info("role:slave\r\nmaster_link_status:down\r\n"), Ok(replica(false, "down")));
    assert_eq!(info("role:slave\n"), Ok(replica(false, "")));
    assert_eq!(info("role:x\n"), Ok(Role::Other(b"x".to_vec())));
    assert!(info("# Replication\r\n").is_err());
}

#[test]
fn what_is_too_large_too_deep_or_no_reply_is_refused() {
    let wrong = [
        b"HTTP/1.1 400 Bad Request".as_slice(),
        b"SSH-2.0",
        b"\0",
        b":x\r\n",
        b":\r\n",
        b":99999999999999999999\r\n",
        b"$-2\r\n",
        b"$49153\r\n",
        b"$9223372036854775807\r\n",
        b"*1025\r\n",
        b"*9223372036854775807\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        b"$1\r\nabc",
    ];
    for bytes in wrong {
        assert!(reply(bytes).is_err(), "{}", bytes.escape_ascii());
    }
    assert!(reply(b"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n").is_ok());
    let endless = [b"+".as_slice(), &[b'x'; LONGEST]].concat();
    assert_eq!(reply(&endless[..LONGEST]), Ok(None));
    assert!(reply(&endless).unwrap_err().0.contains("longer than 48 KiB"));
    // Each part is small enough, all of them are not.
    let many =
        [b"*100\r\n".as_slice(), &[b"$1000\r\n".as_slice(), &[b'x'; 1000], b"\r\n"].concat().repeat(60)].concat();
    assert!(reply(&many).unwrap_err().0.contains("longer than 48 KiB"));
    // A short one is taken off the front of a flood.
    assert_eq!(reply(&b"+OK\r\n".repeat(20_000)), Ok(Some((Reply::Simple(b"OK".to_vec()), 5))));
}

/// However the bytes arrive.
#[test]
fn a_reply_is_one_only_when_all_of_it_is_there() {
    for bytes in [PRIMARY, REPLICA, b"+PONG\r\n", b"-ERR no\r\n", b"$-1\r\n"] {
        for end in 0..bytes.len() {
            assert_eq!(reply(&bytes[..end]), Ok(None), "{}", bytes[..end].escape_ascii());
        }
        assert_eq!(reply(&[bytes, b"+"].concat()), Ok(Some((whole(bytes), bytes.len()))));
    }
}

proptest! {
    #[test]
    fn nothing_a_server_sends_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = reply(&bytes);
        let _ = role_from_info(&bytes);
    }

    #[test]
    fn nor_does_what_looks_like_a_reply(text in "([*$:+-](-?[0-9]{1,3}|slave|master)\r\n){0,12}") {
        if let Ok(Some((reply, taken))) = reply(text.as_bytes()) {
            prop_assert!(taken <= text.len());
            let _ = role(&reply);
        }
    }

    #[test]
    fn nor_does_what_is_nearly_right(at in any::<prop::sample::Index>(), with: u8) {
        for bytes in [PRIMARY, REPLICA] {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(Some((reply, _))) = reply(&bytes) {
                let _ = role(&reply);
            }
        }
    }
}
