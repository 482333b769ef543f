//! One line of a log, as a JSON object or as `key=value`.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::Duration;

use super::Short;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Json,
    /// `key=value` with strings quoted; what is nested in JSON has its path as key: `seconds.total=1.5`.
    Text,
}

/// A line under construction, straight into its bytes.
///
/// Strings are escaped so that no value can end a line, begin a key, or speak to a terminal, and cut
/// at the line's limit.
///
/// Every session has one, so what its keys and values mostly are is put together without the machinery of `write!`, and
/// where a key is known to the compiler its bytes are stored without a loop: what calls `key` is inlined for that.
#[derive(Debug)]
pub struct Line {
    form: Form,
    /// Characters of one string at most.
    limit: usize,
    /// All that is put in is UTF-8.
    out: Vec<u8>,
    /// The keys around the next one; text form only.
    path: String,
    first: bool,
}

impl Line {
    /// An empty line; strings are cut at `limit` characters.
    pub fn new(form: Form, limit: usize) -> Self {
        let mut line = Self { form, limit, out: Vec::with_capacity(1000), path: String::new(), first: true };
        line.json(b"{");
        line
    }

    /// The finished bytes, newline included.
    pub fn finish(mut self) -> Vec<u8> {
        self.json(b"}");
        self.out.push(b'\n');
        self.out
    }

    /// A string; `None` is null.
    #[inline(always)]
    pub fn string(&mut self, key: &str, value: Option<impl fmt::Display>) {
        self.key(key);
        match value {
            Some(value) => self.quoted(value),
            None => self.null(),
        }
    }

    /// A string that is there already; `None` is null.
    #[inline(always)]
    pub fn text(&mut self, key: &str, value: Option<&str>) {
        self.key(key);
        match value {
            Some(value) => self.quoted_text(value),
            None => self.null(),
        }
    }

    /// A word of this program, which needs no escape; `None` is null.
    #[inline(always)]
    pub fn word(&mut self, key: &str, value: Option<&'static str>) {
        debug_assert!(value.is_none_or(is_plain));
        self.key(key);
        match value {
            Some(value) => self.quoted_plain(value.as_bytes()),
            None => self.null(),
        }
    }

    /// A string of digits and the like; `None` is null.
    #[inline(always)]
    pub fn short(&mut self, key: &str, value: Option<&Short>) {
        self.key(key);
        match value {
            Some(value) => self.quoted_plain(value.as_bytes()),
            None => self.null(),
        }
    }

    /// Anything whose text is valid as a JSON number or boolean; `None` is null.
    #[inline(always)]
    pub fn bare(&mut self, key: &str, value: Option<impl fmt::Display>) {
        self.key(key);
        match value {
            Some(value) => self.push(value),
            None => self.null(),
        }
    }

    /// A number.
    #[inline(always)]
    pub fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        let mut text = Short::new();
        text.decimal(value);
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A span in seconds, to the microsecond; `None` is null.
    #[inline(always)]
    pub fn seconds(&mut self, key: &str, value: Option<Duration>) {
        self.key(key);
        match value {
            Some(span) => self.span(span),
            None => self.null(),
        }
    }

    /// An object under `key`.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        if self.form == Form::Json {
            self.key(key);
        }
        self.nested(format_args!("{key}"), fill);
    }

    /// A list of objects under `key`.
    pub fn list<T>(&mut self, key: &str, items: &[T], mut fill: impl FnMut(&mut Self, &T)) {
        if self.form == Form::Json || items.is_empty() {
            self.key(key);
        }
        if self.form == Form::Json || items.is_empty() {
            self.out.push(b'[');
        }
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.json(b",");
            }
            self.nested(format_args!("{key}.{index}"), |line| fill(line, item));
        }
        if self.form == Form::Json || items.is_empty() {
            self.out.push(b']');
        }
    }

    fn nested(&mut self, key: fmt::Arguments<'_>, fill: impl FnOnce(&mut Self)) {
        let outer = self.path.len();
        if self.form == Form::Text {
            let _ = write!(self.path, "{key}.");
        } else {
            self.first = true;
        }
        self.json(b"{");
        fill(self);
        self.json(b"}");
        self.path.truncate(outer);
        self.first = false;
    }

    /// Keys are words of this program; only values are anyone else's.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        if self.form == Form::Text {
            return self.key_of_text(key);
        }
        self.out.extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn key_of_text(&mut self, key: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b' ');
        }
        for piece in [&self.path, key, "="] {
            self.out.extend_from_slice(piece.as_bytes());
        }
    }

    fn quoted(&mut self, value: impl fmt::Display) {
        self.out.push(b'"');
        let left = self.limit;
        // Ends in an error when the limit is reached; what is there by then is what is logged.
        let _ = write!(Escape { out: &mut self.out, left }, "{value}");
        self.out.push(b'"');
    }

    fn quoted_text(&mut self, value: &str) {
        self.out.push(b'"');
        let left = self.limit;
        let _ = Escape { out: &mut self.out, left }.write_str(value);
        self.out.push(b'"');
    }

    fn quoted_plain(&mut self, value: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(value);
        self.out.push(b'"');
    }

    fn span(&mut self, span: Duration) {
        let mut text = Short::new();
        text.decimal(span.as_secs());
        text.push(b'.');
        text.digits(span.subsec_micros().into(), 6);
        self.out.extend_from_slice(text.as_bytes());
    }

    #[inline(always)]
    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    /// Only the sink's memory could fail a write into it.
    fn push(&mut self, value: impl fmt::Display) {
        let _ = write!(self.out, "{value}");
    }

    fn json(&mut self, text: &[u8]) {
        if self.form == Form::Json {
            self.out.extend_from_slice(text);
        }
    }
}

/// Escapes what is written through it, and cuts it.
struct Escape<'a> {
    out: &'a mut Vec<u8>,
    /// Characters that may still follow.
    left: usize,
}

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left && is_plain(text) {
            self.left -= text.len();
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        text.chars().try_for_each(|c| self.escape(c))
    }
}

impl Escape<'_> {
    fn escape(&mut self, c: char) -> fmt::Result {
        if self.left == 0 {
            self.out.extend_from_slice("…".as_bytes());
            return Err(fmt::Error);
        }
        self.left -= 1;
        match c {
            '"' => self.out.extend_from_slice(b"\\\""),
            '\\' => self.out.extend_from_slice(b"\\\\"),
            '\n' => self.out.extend_from_slice(b"\\n"),
            '\r' => self.out.extend_from_slice(b"\\r"),
            '\t' => self.out.extend_from_slice(b"\\t"),
            c if c.is_control() || turns_text(c) => {
                write!(self.out, "\\u{:04x}", u32::from(c)).map_err(|_| fmt::Error)?;
            }
            c => self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        Ok(())
    }
}

/// Whether it is printable ASCII that needs no escape.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// Of each byte, whether it is that.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

/// Characters that end a line or turn its direction for whoever reads it. All are within four digits.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(form: Form) -> String {
        let mut line = Line::new(form, 20);
        line.bare("v", Some(1));
        line.string("name", Some("a \"b\"\n"));
        line.string("none", None::<&str>);
        line.list("tries", &["x", "y"], |line, name| line.string("backend", Some(name)));
        line.list("empty", &[""; 0], |_, _| {});
        line.object("seconds", |line| {
            line.seconds("total", Some(Duration::from_micros(1_500_001)));
            line.seconds("queue", None);
        });
        line.word("side", Some("proxy"));
        line.word("cause", None);
        let mut short = Short::new();
        [7, 42, 1234, 65_535].iter().for_each(|number| {
            short.decimal(*number);
            short.push(b':');
        });
        line.short("digits", Some(&short));
        line.short("no_digits", None);
        line.bare("last", Some(true));
        String::from_utf8(line.finish()).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        assert_eq!(
            sample(Form::Json),
            concat!(
                r#"{"v":1,"name":"a \"b\"\n","none":null,"tries":[{"backend":"x"},{"backend":"y"}],"empty":[],"#,
                r#""seconds":{"total":1.500001,"queue":null},"side":"proxy","cause":null,"#,
                r#""digits":"7:42:1234:65535:","no_digits":null,"last":true}"#,
                "\n"
            )
        );
        assert_eq!(
            sample(Form::Text),
            concat!(
                r#"v=1 name="a \"b\"\n" none=null tries.0.backend="x" tries.1.backend="y" empty=[] "#,
                "seconds.total=1.500001 seconds.queue=null side=\"proxy\" cause=null ",
                "digits=\"7:42:1234:65535:\" no_digits=null last=true\n"
            )
        );
    }

    #[test]
    fn nothing_speaks_to_a_terminal() {
        let mut line = Line::new(Form::Text, 20);
        line.string("k", Some("\u{1b}[\u{7f}\u{9b}\u{202e}\u{2028}\r"));
        assert_eq!(line.finish(), b"k=\"\\u001b[\\u007f\\u009b\\u202e\\u2028\\r\"\n");
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_quotes(value in prop::collection::vec(any::<char>(), 0..60), limit in 0usize..80) {
            let value: String = value.into_iter().collect();
            let mut line = Line::new(Form::Json, limit);
            line.string("k", Some(&value));
            let bytes = line.finish();
            let text = String::from_utf8(bytes).unwrap();
            prop_assert!(!text.trim_end_matches('\n').chars().any(|c| c.is_control() || turns_text(c)));
            let back: serde_json::Value = serde_json::from_str(&text).unwrap();
            let back = back["k"].as_str().unwrap();
            let cut: String = value.chars().take(limit).collect();
            let expected = if value.chars().count() > limit { cut + "…" } else { value.clone() };
            prop_assert_eq!(back, expected);
        }
    }
}
