//! What is written is what another parser reads, and what the protocol's text shows.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv6Addr};

use ppp::v2::Type;
use ppp::{v1, v2};
use proptest::prelude::*;

use super::tlv::CRC32C;
use super::*;

fn tcp(src: &str, dst: &str) -> Header {
    Header::tcp(src.parse().unwrap(), dst.parse().unwrap())
}

#[test]
fn version_1_byte_by_byte() {
    let line = |header: Header| String::from_utf8(header.v1()).unwrap();
    assert_eq!(line(tcp("192.168.0.1:56324", "192.168.0.11:443")), "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
    assert_eq!(line(tcp("[2001:db8::1]:1", "[::]:65535")), "PROXY TCP6 2001:db8::1 :: 1 65535\r\n");
    assert_eq!(line(tcp("[::ffff:192.0.2.1]:7", "192.0.2.2:8")), "PROXY TCP4 192.0.2.1 192.0.2.2 7 8\r\n");
    assert_eq!(line(tcp("192.0.2.1:7", "[2001:db8::2]:8")), "PROXY TCP6 ::ffff:c000:201 2001:db8::2 7 8\r\n");
    let path = UnixPath::new(b"/run/x.sock").unwrap();
    for header in [Header::Local, Header::Unknown, Header::Unix { src: path, dst: path }] {
        assert_eq!(line(header), "PROXY UNKNOWN\r\n");
    }
}

#[test]
fn version_2_byte_by_byte() {
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x02\x12\x34\x01\xbb".to_vec();
    expected.extend(b"\x05\x00\x01i");
    let mut tlvs = Tlvs::default();
    tlvs.push(UNIQUE_ID, b"i").unwrap();
    assert_eq!(tcp("192.0.2.1:4660", "198.51.100.2:443").v2(&tlvs, false), expected);
    assert_eq!(Header::Local.v2(&Tlvs::default(), false), b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    assert_eq!(Header::Unknown.v2(&Tlvs::default(), false), b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00");
}

/// RFC 3720, B.4, gives the sum of 32 zeros; here it stands for whether this is the right polynomial at all.
#[test]
fn the_checksum_is_the_castagnoli_one_in_network_order() {
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    let mut header = Header::Unknown.v2(&Tlvs::default(), true);
    let sum: [u8; 4] = header.split_off(header.len() - 4).try_into().unwrap();
    header.extend([0; 4]);
    assert_eq!(bitwise(&header), u32::from_be_bytes(sum));
}

#[test]
fn fields_that_leave_no_room_are_refused_and_the_longest_fit_into_any_header() {
    let path = UnixPath::new(&[b'x'; UnixPath::LENGTH]).unwrap();
    assert_eq!(UnixPath::new(&[b'x'; UnixPath::LENGTH + 1]), None);
    let mut tlvs = Tlvs::default();
    assert_eq!(tlvs.push(0xe0, &vec![0; usize::from(u16::MAX) + 1]), Err(TooLong));
    assert_eq!(tlvs, Tlvs::default());
    let longest = vec![7; usize::from(u16::MAX) - 2 * UnixPath::LENGTH - 7 - 3];
    assert_eq!(tlvs.push(0xe0, &[&longest[..], b"7"].concat()), Err(TooLong));
    tlvs.push(0xe0, &longest).unwrap();
    assert_eq!(tlvs.push(0xe1, b""), Err(TooLong));
    let header = Header::Unix { src: path, dst: path }.v2(&tlvs, true);
    assert_eq!(header.len(), 16 + usize::from(u16::MAX));
    assert_eq!(header[14..16], [0xff, 0xff]);
}

/// Any address: plain, mapped, and those that print longest.
pub(super) fn address() -> impl Strategy<Value = SocketAddr> {
    let full = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits | 0x1000 << 112)));
    let mapped = any::<u32>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(0xffff_0000_0000 | u128::from(bits))));
    let ip = prop_oneof![any::<IpAddr>(), full, mapped];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

pub(super) fn header() -> impl Strategy<Value = Header> {
    let path = proptest::collection::vec(any::<u8>(), 0..=UnixPath::LENGTH);
    let path = path.prop_map(|path| UnixPath::new(&path).unwrap());
    prop_oneof![
        1 => Just(Header::Local),
        1 => Just(Header::Unknown),
        4 => (address(), address()).prop_map(|(src, dst)| Header::tcp(src, dst)),
        1 => (path.clone(), path).prop_map(|(src, dst)| Header::Unix { src, dst }),
    ]
}

proptest! {
    #[test]
    fn version_1_is_read_back_as_what_it_says(header in header()) {
        let line = header.v1();
        prop_assert!(line.len() <= LONGEST_V1, "{} bytes", line.len());
        let parsed = v1::Header::try_from(&line[..]).unwrap();
        let expected = match &header {
            Header::V4 { src, dst } => v1::Addresses::new_tcp4(*src.ip(), *dst.ip(), src.port(), dst.port()),
            Header::V6 { src, dst } => v1::Addresses::new_tcp6(*src.ip(), *dst.ip(), src.port(), dst.port()),
            Header::Local | Header::Unknown | Header::Unix { .. } => v1::Addresses::Unknown,
        };
        prop_assert_eq!(parsed.addresses, expected);
    }

    #[test]
    fn version_2_is_read_back_as_what_it_says(
        header in header(),
        fields in proptest::collection::vec((0xe0..=0xef_u8, proptest::collection::vec(any::<u8>(), 0..300)), 0..5),
        checksum in any::<bool>(),
    ) {
        let mut tlvs = Tlvs::default();
        for (kind, value) in &fields {
            tlvs.push(*kind, value).unwrap();
        }
        let bytes = header.v2(&tlvs, checksum);
        let parsed = v2::Header::try_from(&bytes[..]).unwrap();
        prop_assert_eq!(parsed.len(), bytes.len());
        let expected = match &header {
            Header::Local | Header::Unknown => v2::Addresses::Unspecified,
            Header::V4 { src, dst } => v2::IPv4::new(*src.ip(), *dst.ip(), src.port(), dst.port()).into(),
            Header::V6 { src, dst } => v2::IPv6::new(*src.ip(), *dst.ip(), src.port(), dst.port()).into(),
            Header::Unix { src, dst } => v2::Unix::new(*src.as_bytes(), *dst.as_bytes()).into(),
        };
        prop_assert_eq!(&parsed.addresses, &expected);
        let local = matches!(header, Header::Local);
        prop_assert_eq!(parsed.command, if local { v2::Command::Local } else { v2::Command::Proxy });
        // That parser takes everything behind "unspecified" for an address, so it is told where the fields start.
        let read = v2::TypeLengthValues::from(&bytes[16 + expected.len()..]).map(|tlv| tlv.unwrap());
        let read: Vec<_> = read.map(|tlv| (tlv.kind, tlv.value.to_vec())).collect();
        prop_assert_eq!(read.len(), fields.len() + usize::from(checksum));
        prop_assert_eq!(&read[..fields.len()], &fields[..]);
        let sum = read.get(fields.len()).map(|(kind, value)| (*kind, value.len()));
        prop_assert_eq!(sum, checksum.then_some((Type::CRC32C.into(), 4)));
    }

    #[test]
    fn the_checksum_covers_every_byte(header in header(), value in proptest::collection::vec(any::<u8>(), 0..128)) {
        let mut tlvs = Tlvs::default();
        tlvs.push(UNIQUE_ID, &value).unwrap();
        let mut bytes = header.v2(&tlvs, true);
        let end = bytes.len();
        prop_assert_eq!(&bytes[end - 7..end - 4], &[CRC32C, 0, 4]);
        let sum = u32::from_be_bytes(bytes[end - 4..].try_into().unwrap());
        bytes[end - 4..].fill(0);
        prop_assert_eq!(bitwise(&bytes), sum);
    }

    #[test]
    fn one_client_has_one_spelling(src in address(), dst in address()) {
        match Header::tcp(src, dst) {
            Header::V4 { src: from, dst: to } => {
                prop_assert_eq!(IpAddr::from(*from.ip()), src.ip().to_canonical());
                prop_assert_eq!(IpAddr::from(*to.ip()), dst.ip().to_canonical());
            }
            Header::V6 { src: from, dst: to } => {
                prop_assert!(from.ip().to_ipv4_mapped().is_none() || to.ip().to_ipv4_mapped().is_none());
                prop_assert_eq!(from.ip().to_canonical(), src.ip().to_canonical());
                prop_assert_eq!(to.ip().to_canonical(), dst.ip().to_canonical());
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

/// CRC32C by its definition, one bit at a time.
fn bitwise(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

#[test]
fn tls_is_told_in_a_field_with_fields() {
    let plain = Ssl { version: "TLSv1.3", cipher: "C", verified: false, resumed: false, common_name: None };
    assert_eq!(plain.value(), b"\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0\x01C");
    let shown = Ssl { verified: true, common_name: Some("me"), ..plain };
    assert_eq!(shown.value(), b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x02me\x23\0\x01C");
    assert_eq!(Ssl { resumed: true, ..shown }.value()[0], 0x05);
    let long = "x".repeat(256);
    assert_eq!(Ssl { common_name: Some(&long), ..plain }.value(), plain.value());
    // And it is read back whole.
    let mut fields = Tlvs::default();
    fields.push(SSL, &shown.value()).unwrap();
    let client = Header::tcp("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
    let ((_, read), _) = parse(&client.v2(&fields, false)).unwrap().unwrap();
    assert_eq!(read.get(SSL), Some(&shown.value()[..]));
}
