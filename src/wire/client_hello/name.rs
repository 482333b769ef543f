//! Names of hosts, in one spelling.

/// The longest name that DNS has, without the dot at its end (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// `text` as all names are spelled here: in lower case and without the dot that may end it; None if it is no host name.
///
/// That is one of letters, digits, `-` and `_`, in labels of 63 bytes at most with dots between them, 253 bytes in all;
/// names of other scripts arrive in ASCII (`xn--…`). Nothing else can end a line, begin a path or hide a zero byte.
pub fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(plain);
    (name.len() <= LONGEST_NAME && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        for text in ["db.example.com", "DB.Example.COM.", "db.example.com."] {
            assert_eq!(host_name(text).as_deref(), Some("db.example.com"), "{text}");
        }
        for text in ["localhost", "_sip._tcp.x", "xn--bcher-kva.example", "1.2.3", "a".repeat(63).as_str()] {
            assert_eq!(host_name(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_host_is_none() {
        let long = format!("{}.x", "a".repeat(64));
        let longer = ["abc"; 64].join(".");
        for text in ["", ".", "a..b", ".a", "a..", "a b", "a\0b", "a\n", "bücher", "a:1", "a/b", "*.a", &long, &longer]
        {
            assert_eq!(host_name(text), None, "{text:?}");
        }
        assert_eq!(host_name(&format!("{}.b", ["abc"; 63].join("."))).map(|name| name.len()), Some(253));
    }
}
