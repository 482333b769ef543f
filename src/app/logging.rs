//! The program's own log: one flat line an event, on stderr, through a sink that never stalls anyone.

use std::fmt;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::plan::{Log, LogFormat};
use crate::sink::{Form, Line, Rfc3339, Sink, Target};

/// Characters of one value. Long enough for any message of ours, and a bound on everyone else's.
const MOST: usize = 4096;
/// How long the end of the process waits for a log that is stuck: with the access log's own wait, and
/// that of the last sessions, a second signal still ends it in about a second.
const LAST_LINES: Duration = Duration::from_millis(300);

/// The running log. Dropping it waits until the last lines are written, but not for long.
#[derive(Debug)]
pub struct Logging {
    sink: Arc<Sink>,
    text: Arc<AtomicBool>,
    filter: reload::Handle<EnvFilter, Registry>,
    dropped: Arc<AtomicU64>,
}

impl Logging {
    /// Begins logging, for the whole process. Panics are logged from now on, too.
    ///
    /// # Errors
    /// The level is no filter, there is no thread to be had, or logging has begun already.
    pub fn init(log: &Log) -> io::Result<Self> {
        let dropped = Arc::new(AtomicU64::new(0));
        let sink = Arc::new(Sink::open(Target::Stderr, dropped.clone())?);
        let text = Arc::new(AtomicBool::new(log.format == LogFormat::Text));
        let (filter, handle) = reload::Layer::new(filter(log)?);
        let lines = Lines { sink: sink.clone(), text: text.clone() };
        tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(io::Error::other)?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self { sink, text, filter: handle, dropped })
    }

    /// Takes over new settings.
    ///
    /// # Errors
    /// The level is no filter; nothing has changed then.
    pub fn follow(&self, log: &Log) -> io::Result<()> {
        self.filter.reload(filter(log)?).map_err(io::Error::other)?;
        self.text.store(log.format == LogFormat::Text, Relaxed);
        Ok(())
    }

    /// Counts lines that were lost; for `log_dropped_total`.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.sink.flush(LAST_LINES);
    }
}

fn filter(log: &Log) -> io::Result<EnvFilter> {
    EnvFilter::try_new(&log.level).map_err(|error| io::Error::other(format!("log.level: {error}")))
}

/// Makes a line of each event and hands it to the sink.
struct Lines {
    sink: Arc<Sink>,
    text: Arc<AtomicBool>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let form = if self.text.load(Relaxed) { Form::Text } else { Form::Json };
        self.sink.write(&compose(form, event));
    }
}

fn compose(form: Form, event: &Event<'_>) -> Vec<u8> {
    let meta = event.metadata();
    let mut line = Line::new(form, MOST);
    line.string("timestamp", Some(Rfc3339(SystemTime::now())));
    line.string("level", Some(meta.level()));
    let mut message = Message(String::new());
    event.record(&mut message);
    line.string("message", Some(message.0));
    event.record(&mut Fields(&mut line));
    if *meta.level() > Level::INFO {
        line.string("target", Some(meta.target()));
    }
    line.finish()
}

/// Picks the message out of an event's fields, so that it stands first.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }
}

/// Writes all fields but the message.
struct Fields<'a>(&'a mut Line);

impl Fields<'_> {
    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.0.bare(field.name(), Some(value));
    }

    fn string(&mut self, field: &Field, value: impl fmt::Display) {
        if field.name() != "message" {
            self.0.string(field.name(), Some(value));
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.string(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.string(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for the others.
        if value.is_finite() { self.bare(field, value) } else { self.string(field, value) }
    }
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let what = info.payload_as_str().unwrap_or("(no message)");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("?").to_owned();
    tracing::error!(panic = what, location = place, thread, "panicked");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Collects composed lines instead of writing them.
    struct Collect(Form, Arc<Mutex<String>>);

    impl<S: Subscriber> Layer<S> for Collect {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.1.lock().unwrap().push_str(std::str::from_utf8(&compose(self.0, event)).unwrap());
        }
    }

    fn logged(form: Form, work: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Collect(form, lines.clone())), work);
        let lines = lines.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn lines_are_flat_and_the_message_comes_first() {
        let event = || tracing::info!(listener = %"x", address = "1.2.3.4:5", count = 3, ok = true, "listening");
        let json = logged(Form::Json, event);
        let rest = json.split_once("Z\",").unwrap().1;
        assert_eq!(
            rest,
            concat!(
                r#""level":"INFO","message":"listening","listener":"x","address":"1.2.3.4:5","count":3,"ok":true}"#,
                "\n"
            )
        );
        let text = logged(Form::Text, event);
        let rest = text.split_once("Z\" ").unwrap().1;
        assert_eq!(rest, "level=\"INFO\" message=\"listening\" listener=\"x\" address=\"1.2.3.4:5\" count=3 ok=true\n");
    }

    #[test]
    fn hostile_values_stay_in_their_quotes() {
        let json = logged(Form::Json, || tracing::warn!(sni = "a\"\n\u{1b}[31m", ratio = f64::NAN, "odd"));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["sni"], &value["ratio"]), (&"a\"\n\u{1b}[31m".into(), &"NaN".into()));
        assert!(json.contains(r"\u001b"), "{json}");
    }

    #[test]
    fn debug_lines_name_their_target() {
        assert!(logged(Form::Json, || tracing::debug!("x")).contains(r#""target":"peerway::app::logging::tests""#));
    }
}
