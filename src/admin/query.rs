//! Names in paths and queries: percent-decoded, once.

/// The parameters of a query, decoded, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`; every name must be one of `known`.
    ///
    /// # Errors
    /// In words: an unknown parameter (a filter that is misspelt must not match everything), or one
    /// that does not decode.
    pub(super) fn parse(raw: Option<&str>, known: &[&str]) -> Result<Self, String> {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            match known.contains(&name.as_str()) {
                true => Ok((name, value)),
                false if known.is_empty() => Err(format!("unknown parameter {name:?}; there are none here")),
                false => Err(format!("unknown parameter {name:?}; known are {}", known.join(", "))),
            }
        });
        decoded.collect::<Result<_, _>>().map(Self)
    }

    /// The last value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next_back()
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Decodes `%41` to `A`, once.
pub(super) fn decode(raw: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(format!("{raw:?}: % without two hex digits")) };
        match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => return Err(format!("{raw:?}: % without two hex digits")),
        }
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| format!("{raw:?}: not UTF-8"))
}

fn digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_decoded_once() {
        let query = Query::parse(Some("pool=a%2520b&pool=c%2fd&limit"), &["pool", "limit"]).unwrap();
        assert_eq!(query.all("pool").collect::<Vec<_>>(), ["a%20b", "c/d"]);
        assert_eq!((query.get("pool"), query.get("limit"), query.get("after")), (Some("c/d"), Some(""), None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for raw in ["a=%", "a=%4", "a=%zz", "a=%ff", "%"] {
            assert!(Query::parse(Some(raw), &["a"]).is_err(), "{raw}");
        }
        let error = Query::parse(Some("lisener=x"), &["listener", "pool"]).unwrap_err();
        assert_eq!(error, "unknown parameter \"lisener\"; known are listener, pool");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(name: String) {
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode(&encoded), Ok(name));
        }

        #[test]
        fn nothing_panics(raw: String) {
            let _ = decode(&raw);
        }
    }
}
