//! Known bytes, what is read back from what was written, and garbage.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

#[test]
fn requests_byte_by_byte() {
    assert_eq!(check(None), b"\0\0\0\0\0");
    assert_eq!(check(Some("")), b"\0\0\0\0\0");
    assert_eq!(check(Some("orders")), b"\0\0\0\0\x08\x0a\x06orders");
    let long = check(Some(&"s".repeat(300)));
    assert_eq!(long[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
    assert_eq!(long.len(), 5 + 303);
}

#[test]
fn responses_byte_by_byte() {
    assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Ok(Some((SERVING, 7))));
    assert_eq!(status(b"\0\0\0\0\x02\x08\x02more"), Ok(Some((2, 7))));
    assert_eq!(status(b"\0\0\0\0\0"), Ok(Some((0, 5))));
}

#[test]
fn the_last_status_counts_and_other_fields_are_skipped() {
    let message = b"\x08\x01\x11eightbyt\x12\x03abc\x1dfour\x20\x81\x80\x01\x08\x02";
    assert_eq!(status(&framed(message)), Ok(Some((2, FRAME + message.len()))));
    // Field 1, but not a number.
    assert_eq!(status(&framed(b"\x0a\x01\x01")), Ok(Some((0, 8))));
}

#[test]
fn numbers_have_ten_bytes_at_most() {
    let minus_one = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert_eq!(status(&framed(minus_one)), Ok(Some((u64::MAX, 16))));
    let endless = [&b"\x08"[..], &[0x80; 11], b"\x01"].concat();
    assert!(status(&framed(&endless)).is_err());
}

#[test]
fn what_is_no_message_is_refused() {
    for bad in [&b"\x08"[..], b"\x12\x05abc", b"\x11short", b"\x0b", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"] {
        assert!(status(&framed(bad)).is_err(), "{bad:x?}");
    }
    let words = |bytes: &[u8]| status(bytes).unwrap_err().0;
    assert_eq!(words(b"\x01\0\0\0\x02\x08\x01"), "a compressed message, which was not offered");
    // Before there is any of it.
    assert_eq!(words(b"\0\0\0\x04\x01"), "a message of 1025 bytes, where a health status has two");
}

#[test]
fn messages_are_percent_decoded() {
    assert_eq!(decoded(b"caf%C3%A9 100%25 %zz %4"), "café 100% %zz %4".as_bytes());
    assert_eq!(decoded(b"%"), b"%");
}

#[test]
fn codes_have_the_names_of_their_specification() {
    assert_eq!(
        [0, 5, 12, 16, 17].map(code_name),
        ["OK", "NOT_FOUND", "UNIMPLEMENTED", "UNAUTHENTICATED", "unknown code"]
    );
    assert_eq!([0, 1, 2, 3].map(status_name), ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]);
    assert_eq!(status_name(9), "serving status 9");
}

proptest! {
    #[test]
    fn what_is_cut_is_not_there_yet(value: u64, fields in proptest::collection::vec(any::<u8>(), 0..20)) {
        let mut message = vec![SERVICE, fields.len() as u8];
        message.extend(&fields);
        message.push(8);
        push_varint(&mut message, value);
        let whole = framed(&message);
        prop_assert_eq!(status(&whole), Ok(Some((value, whole.len()))));
        for cut in 0..whole.len() {
            prop_assert_eq!(status(&whole[..cut]), Ok(None));
        }
    }

    #[test]
    fn garbage_gives_an_answer_and_never_more_than_there_was(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(Some((_, taken))) = status(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
        let _ = status(&framed(&bytes));
        prop_assert!(decoded(&bytes).len() <= bytes.len());
    }
}
