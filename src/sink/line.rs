//! One line of a log, as a JSON object or as `key=value`.

use std::fmt::{self, Write};
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
#[derive(Debug)]
pub struct Line {
    form: Form,
    /// Characters of one string at most.
    limit: usize,
    out: String,
    /// The keys around the next one; text form only.
    path: String,
    first: bool,
}

impl Line {
    /// An empty line; strings are cut at `limit` characters.
    pub fn new(form: Form, limit: usize) -> Self {
        let mut line = Self { form, limit, out: String::with_capacity(1024), path: String::new(), first: true };
        line.json("{");
        line
    }

    /// The finished bytes, newline included.
    pub fn finish(mut self) -> Vec<u8> {
        self.json("}");
        self.out.push('\n');
        self.out.into_bytes()
    }

    /// A string; `None` is null.
    pub fn string(&mut self, key: &str, value: Option<impl fmt::Display>) {
        self.key(key);
        match value {
            Some(value) => self.quoted(value),
            None => self.out.push_str("null"),
        }
    }

    /// A string that is there already, for which no machinery is needed; `None` is null.
    pub fn text(&mut self, key: &str, value: Option<&str>) {
        self.key(key);
        let Some(value) = value else { return self.out.push_str("null") };
        self.out.push('"');
        let left = self.limit;
        // Ends in an error when the limit is reached; what is there by then is what is logged.
        let _ = Escape { out: &mut self.out, left }.write_str(value);
        self.out.push('"');
    }

    /// Anything whose text is valid as a JSON number or boolean; `None` is null.
    pub fn bare(&mut self, key: &str, value: Option<impl fmt::Display>) {
        self.key(key);
        match value {
            Some(value) => self.push(value),
            None => self.out.push_str("null"),
        }
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        let mut text = Short::new();
        text.decimal(value);
        self.out.push_str(text.as_str());
    }

    /// A span in seconds, to the microsecond; `None` is null.
    pub fn seconds(&mut self, key: &str, value: Option<Duration>) {
        self.key(key);
        match value {
            Some(span) => {
                let mut text = Short::new();
                text.decimal(span.as_secs());
                text.push(b'.');
                text.digits(span.subsec_micros().into(), 6);
                self.out.push_str(text.as_str());
            }
            None => self.out.push_str("null"),
        }
    }

    /// An object under `key`.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        if self.form == Form::Json {
            self.key(key);
        }
        self.nested(key, fill);
    }

    /// A list of objects under `key`.
    pub fn list<T>(&mut self, key: &str, items: &[T], mut fill: impl FnMut(&mut Self, &T)) {
        if self.form == Form::Json || items.is_empty() {
            self.key(key);
        }
        if self.form == Form::Json || items.is_empty() {
            self.out.push('[');
        }
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.json(",");
            }
            self.nested(&format_args!("{key}.{index}"), |line| fill(line, item));
        }
        if self.form == Form::Json || items.is_empty() {
            self.out.push(']');
        }
    }

    fn nested(&mut self, key: &(impl fmt::Display + ?Sized), fill: impl FnOnce(&mut Self)) {
        let outer = self.path.len();
        if self.form == Form::Text {
            let _ = write!(self.path, "{key}.");
        } else {
            self.first = true;
        }
        self.json("{");
        fill(self);
        self.json("}");
        self.path.truncate(outer);
        self.first = false;
    }

    fn key(&mut self, key: &str) {
        let first = std::mem::replace(&mut self.first, false);
        match self.form {
            Form::Json => {
                if !first {
                    self.out.push(',');
                }
                // Keys are words of this program; only values are anyone else's. Piece by piece, which is several times as
                // fast as the machinery of `write!`.
                self.out.push('"');
                self.out.push_str(key);
                self.out.push_str("\":");
            }
            Form::Text => {
                if !first {
                    self.out.push(' ');
                }
                self.out.push_str(&self.path);
                self.out.push_str(key);
                self.out.push('=');
            }
        }
    }

    fn quoted(&mut self, value: impl fmt::Display) {
        self.out.push('"');
        let left = self.limit;
        // Ends in an error when the limit is reached; what is there by then is what is logged.
        let _ = write!(Escape { out: &mut self.out, left }, "{value}");
        self.out.push('"');
    }

    /// Only the sink's memory could fail a write into a string.
    fn push(&mut self, value: impl fmt::Display) {
        let _ = write!(self.out, "{value}");
    }

    fn json(&mut self, text: &str) {
        if self.form == Form::Json {
            self.out.push_str(text);
        }
    }
}

/// Escapes what is written through it, and cuts it.
struct Escape<'a> {
    out: &'a mut String,
    /// Characters that may still follow.
    left: usize,
}

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left && text.bytes().all(is_plain) {
            self.left -= text.len();
            self.out.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|c| self.escape(c))
    }
}

impl Escape<'_> {
    fn escape(&mut self, c: char) -> fmt::Result {
        if self.left == 0 {
            self.out.push('…');
            return Err(fmt::Error);
        }
        self.left -= 1;
        match c {
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str("\\\\"),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            c if c.is_control() || turns_text(c) => write!(self.out, "\\u{:04x}", u32::from(c))?,
            c => self.out.push(c),
        }
        Ok(())
    }
}

/// Printable ASCII that needs no escape.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

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
        line.bare("last", Some(true));
        String::from_utf8(line.finish()).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        assert_eq!(
            sample(Form::Json),
            concat!(
                r#"{"v":1,"name":"a \"b\"\n","none":null,"tries":[{"backend":"x"},{"backend":"y"}],"empty":[],"#,
                r#""seconds":{"total":1.500001,"queue":null},"last":true}"#,
                "\n"
            )
        );
        assert_eq!(
            sample(Form::Text),
            concat!(
                r#"v=1 name="a \"b\"\n" none=null tries.0.backend="x" tries.1.backend="y" empty=[] "#,
                "seconds.total=1.500001 seconds.queue=null last=true\n"
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
