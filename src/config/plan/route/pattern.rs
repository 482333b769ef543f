//! What the first bytes of a stream, or a name, must look like.

use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{primitives::StateID, start, syntax};
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::{Look, LookSet};

/// A regular expression over the first bytes of a stream, of which more may be to come.
///
/// It is an automaton that is built whole when the configuration is read: it says of every beginning of a stream
/// whether that matches, may still, or never will, in one step a byte and whatever the pieces in which they come.
#[derive(Clone)]
pub struct HeadPattern {
    text: Arc<str>,
    limit: usize,
    automaton: Arc<dense::DFA<Vec<u32>>>,
    start: StateID,
}

/// Why a text is no pattern for the beginning of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadPattern {
    /// It is no regular expression; the reason.
    Syntax(String),
    /// It asks what stands behind a match: `$`, `\z`, `\b`.
    LooksAhead,
    /// The automaton would be too large.
    TooLarge,
}

/// States of one pattern, bytes; a pattern is a line of a configuration, and repetition must not make it a bomb.
const LARGEST: usize = 1 << 20;

impl HeadPattern {
    /// `text` over the first `limit` bytes.
    ///
    /// # Errors
    /// It is none, or none that could be decided while more bytes may come.
    pub fn new(text: &str, limit: usize) -> Result<Self, BadPattern> {
        let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(text);
        let hir = hir.map_err(|error| BadPattern::Syntax(reason(&error.to_string())))?;
        let mut ahead = hir.properties().look_set();
        // These look back, at what is there.
        [Look::Start, Look::StartLF, Look::StartCRLF].iter().for_each(|look| ahead = ahead.remove(*look));
        if ahead != LookSet::empty() {
            return Err(BadPattern::LooksAhead);
        }
        // One that can match at the very beginning only says sooner when it never will.
        let fixed = hir.properties().look_set_prefix().contains(Look::Start);
        let (kind, anchored) =
            if fixed { (StartKind::Anchored, Anchored::Yes) } else { (StartKind::Unanchored, Anchored::No) };
        let limits = dense::Config::new()
            .start_kind(kind)
            .match_kind(MatchKind::All)
            .dfa_size_limit(Some(LARGEST))
            .determinize_size_limit(Some(4 * LARGEST));
        let automaton = dense::Builder::new()
            .configure(limits)
            .syntax(syntax::Config::new().utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(LARGEST)))
            .build(text);
        let automaton = automaton.map_err(|_| BadPattern::TooLarge)?;
        let start =
            automaton.start_state(&start::Config::new().anchored(anchored)).map_err(|_| BadPattern::TooLarge)?;
        Ok(Self { text: text.into(), limit, automaton: Arc::new(automaton), start })
    }

    /// Whether a stream that begins with `bytes` matches; None while that is not decided.
    pub fn judge(&self, bytes: &[u8]) -> Option<bool> {
        // It tells of a match one step late, so the end is tried after each byte.
        let matches = |state| self.automaton.is_match_state(self.automaton.next_eoi_state(state));
        let mut state = self.start;
        if matches(state) {
            return Some(true);
        }
        for byte in bytes.iter().take(self.limit) {
            state = self.automaton.next_state(state, *byte);
            if self.automaton.is_dead_state(state) {
                return Some(false);
            }
            if matches(state) {
                return Some(true);
            }
        }
        (bytes.len() >= self.limit).then_some(false)
    }
}

/// Errors of the syntax are drawn over several lines; the reason stands in the last.
fn reason(report: &str) -> String {
    report.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl PartialEq for HeadPattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.limit) == (&other.text, other.limit)
    }
}

impl fmt::Debug for HeadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/ within {}", self.text, self.limit)
    }
}

/// A text in which `*` stands for anything, nothing included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub Box<str>);

impl Words {
    /// Whether all of `text` is meant. Each star is tried at the leftmost place that fits what follows it, which is
    /// enough; the work is the product of the two lengths at most.
    pub fn takes(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|front| text.strip_prefix(front)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(text: &str, bytes: &[u8]) -> Option<bool> {
        HeadPattern::new(text, 8).unwrap().judge(bytes)
    }

    #[test]
    fn a_pattern_is_decided_as_soon_as_it_can_be() {
        for (text, bytes, expected) in [
            ("^SSH-", &b""[..], None),
            ("^SSH-", b"SS", None),
            ("^SSH-", b"SSH-", Some(true)),
            ("^SSH-", b"G", Some(false)),
            ("^(GET|PUT) /", b"GET", None),
            ("^(GET|PUT) /", b"PUT /x", Some(true)),
            ("^(GET|PUT) /", b"PUG", Some(false)),
            ("x", b"aaaaaaa", None),
            ("x", b"aaaaaaax", Some(true)),
            ("x", b"aaaaaaaax", Some(false)),
            ("(?m)^b", b"a\nb", Some(true)),
            (r"^(?-u:\xff)[\x00-\x02]", b"\xff\x01", Some(true)),
            ("^(?i)get", b"gEt", Some(true)),
            ("", b"", Some(true)),
        ] {
            assert_eq!(judge(text, bytes), expected, "{text} {bytes:?}");
        }
    }

    #[test]
    fn what_cannot_be_decided_or_built_is_no_pattern() {
        for text in ["a$", r"a\z", r"a\b", r"(?m)a$", r"\bx", r"a\B"] {
            assert_eq!(HeadPattern::new(text, 8).unwrap_err(), BadPattern::LooksAhead, "{text}");
        }
        assert!(matches!(HeadPattern::new("(", 8), Err(BadPattern::Syntax(why)) if why == "unclosed group"));
        for text in [r"(\w{50}){50}", "x{100000}", ".*.{12}[ab].{18}"] {
            assert_eq!(HeadPattern::new(text, 8).unwrap_err(), BadPattern::TooLarge, "{text}");
        }
    }

    #[test]
    fn a_star_in_words_is_anything() {
        let takes = |words: &str, text: &str| Words(words.into()).takes(text);
        assert!(takes("spiffe://prod/*", "spiffe://prod/web") && takes("spiffe://prod/*", "spiffe://prod/"));
        assert!(!takes("spiffe://prod/*", "spiffe://production/web") && !takes("spiffe://prod/*", "x spiffe://prod/"));
        assert!(takes("a", "a") && !takes("a", "ab") && !takes("a", "ba") && takes("*", "") && takes("*", "x"));
        assert!(takes("a*b*c", "abc") && takes("a*b*c", "a-b-b-c") && !takes("a*b*c", "acb"));
        assert!(!takes("ab*ba", "aba"), "nothing stands for two things");
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_what_is_decided(
            text in "\\^?[ab.*]?[ab](\\||[ab]*|.?){1,2}[ab]",
            bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], 0..12),
        ) {
            let Ok(pattern) = HeadPattern::new(&text, 8) else { return Ok(()) };
            let whole = regex::bytes::Regex::new(&text).unwrap();
            let mut decided = None;
            for end in 0..=bytes.len() {
                let so_far = pattern.judge(&bytes[..end]);
                prop_assert!(decided.is_none() || so_far == decided, "{} {:?}", text, bytes);
                decided = so_far;
                let found = whole.is_match(&bytes[..end.min(8)]);
                prop_assert_eq!(so_far == Some(true), found, "{} {:?}", text, &bytes[..end]);
            }
        }
    }
}
