//! Single values: what each kind of value accepts, and the words when it does not.

mod address;
mod http;
mod number;
mod text;

use std::time::Duration;

use super::tree::Node;
use super::units;

pub(super) use address::{bind, endpoint, mode, network, source, target};
pub(super) use http::{http_path, method, statuses};
pub(super) use number::{RATIOS, boolean, byte_rate, count, duration, factor, interval, rate, ratio, share};
pub(super) use text::{check_name, congestion, filter, hex, regex, text, token};

use address::ip;
use number::{DURATION, RATE, ZERO_RATE, check_duration, in_range};
use text::check_path;

/// A kind of single value. Ranges are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Bool,
    /// A share relative to others, 1 to 65535.
    Weight,
    /// A whole number.
    Count {
        min: u64,
        max: u64,
    },
    Duration {
        min: Duration,
        max: Duration,
        whole_seconds: bool,
    },
    Size,
    /// Times a second, at least so many.
    Rate {
        min: u64,
    },
    ByteRate,
    Share,
    /// A number of times, such as `2x`.
    Factor,
    /// A number of times as a bare number, such as `1.25`, in [`RATIOS`].
    Ratio,
    /// Any text but the empty one.
    Text,
    /// The name of a listener, pool or backend.
    Name,
    /// A path, relative to the file that names it.
    Path,
    /// `IP:port`.
    Ip,
    /// `IP:port` or `unix:PATH`.
    Endpoint,
    /// `IP:port`, `IP:first-last` or `unix:PATH`.
    Bind,
    /// `IP:port`, `host:port` or `unix:PATH`.
    Target,
    /// An IP address of this machine.
    Source,
    /// `IP/prefix`.
    Network,
    /// Permission bits as four octal digits in quotes.
    Mode,
    /// A filter for the program's own log.
    Filter,
    /// `interval 60s`.
    Interval,
    /// A regular expression over bytes.
    Regex,
    /// Bytes as pairs of hex digits.
    Hex,
    /// A status code of HTTP, or a range of them.
    Statuses,
    /// Visible ASCII without spaces.
    Token,
    /// The path of an HTTP request.
    HttpPath,
    /// The method of one.
    Method,
    /// Who decides how fast a socket sends.
    Congestion,
}

impl Scalar {
    /// Is `node` such a value? The error says what to write.
    pub(super) fn check(self, node: &Node) -> Result<(), String> {
        match self {
            Self::Bool => boolean(node).map(drop),
            Self::Count { min, max } => count(node).and_then(|n| in_range(n, min, max)),
            Self::Weight => match count(node)? {
                0 => Err("a weight is 1 to 65535: to send nothing to a backend, write `disabled: true`".to_owned()),
                weight => in_range(weight, 1, 65_535),
            },
            Self::Duration { min, max, whole_seconds } => {
                duration(node).and_then(|duration| check_duration(duration, min, max, whole_seconds))
            }
            Self::Size => text(node, self.noun()).and_then(units::parse_size).map(drop),
            Self::Rate { min } => {
                rate(node).and_then(|rate| if rate < min { Err(ZERO_RATE.to_owned()) } else { Ok(()) })
            }
            Self::ByteRate => byte_rate(node).map(drop),
            Self::Share => share(node).map(drop),
            Self::Factor => factor(node).map(drop),
            Self::Text => text(node, self.noun()).map(drop),
            Self::Ratio => ratio(node).map(drop),
            Self::Name => text(node, self.noun()).and_then(check_name),
            Self::Path => text(node, self.noun()).and_then(check_path),
            Self::Ip => ip(node).map(drop),
            Self::Endpoint => endpoint(node).map(drop),
            Self::Bind => bind(node).map(drop),
            Self::Target => target(node).map(drop),
            Self::Source => source(node).map(drop),
            Self::Network => network(node).map(drop),
            Self::Mode => mode(node).map(drop),
            Self::Filter => filter(node).map(drop),
            Self::Interval => interval(node).map(drop),
            Self::Regex => regex(node).map(drop),
            Self::Hex => hex(node).map(drop),
            Self::Statuses => statuses(node).map(drop),
            Self::Token => token(node).map(drop),
            Self::HttpPath => http_path(node).map(drop),
            Self::Method => method(node).map(drop),
            Self::Congestion => congestion(node).map(drop),
        }
    }

    /// The kind in a few words, for "expected …" and the manual.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Count { .. } => "a whole number",
            Self::Weight => "a whole number from 1 to 65535",
            Self::Duration { .. } => DURATION,
            Self::Size => "a size such as `64KiB`",
            Self::Rate { .. } => RATE,
            Self::ByteRate => "a bandwidth such as `10MiB/s`",
            Self::Share => "a share such as `20%`",
            Self::Factor => "a factor such as `2x`",
            Self::Ratio => "a number from 1 to 100 such as `1.25`",
            Self::Text => "text",
            Self::Name => "a name",
            Self::Path => "a path",
            Self::Ip => "an address such as `127.0.0.1:9901`",
            Self::Endpoint => "an address such as `127.0.0.1:9901` or `unix:/path`",
            Self::Bind => "an address such as `0.0.0.0:5432` or `unix:/path`",
            Self::Target => "an address such as `10.0.0.1:5432`, `host:5432` or `unix:/path`",
            Self::Source => "an IP address such as `10.0.0.9`",
            Self::Network => "a network such as `10.0.0.0/8`",
            Self::Mode => "permission bits such as `\"0660\"`",
            Self::Filter => "a log filter such as `info`",
            Self::Interval => "`interval 60s`",
            Self::Regex => "a regular expression",
            Self::Hex => "bytes as hex digits in quotes, such as `\"0a0b\"`",
            Self::Statuses => "a status code such as `200`, or a range such as `200-299`",
            Self::Token => "a word",
            Self::HttpPath => "a path such as `/healthz`",
            Self::Method => "a method such as `GET`",
            Self::Congestion => "the name of an algorithm such as `cubic`",
        }
    }
}
