//! A small HTTP/1 client for the admin endpoint.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde_json::Value;
use socket2::{SockAddr, Socket, Type};

use super::PATIENCE;

/// One admin or metrics endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    /// `IP:port` or `unix:PATH`, as the proxy announces it.
    pub(crate) address: String,
}

/// What an endpoint answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Admin {
    /// `GET path`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// `GET path`, as JSON.
    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// One request on a connection of its own; `headers` are whole lines with their ends.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.try_ask(method, path, headers).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A request that claims to be meant for another host.
    #[track_caller]
    pub(crate) fn ask_host(&self, host: &str, method: &str, path: &str) -> Answer {
        self.exchange(host, method, path, "").unwrap()
    }

    /// The same as [`Admin::ask`], for an endpoint that may be gone.
    pub(crate) fn try_ask(&self, method: &str, path: &str, headers: &str) -> std::io::Result<Answer> {
        let unix = self.address.starts_with("unix:");
        let host = if unix { "localhost" } else { &self.address };
        self.exchange(host, method, path, headers)
    }

    fn exchange(&self, host: &str, method: &str, path: &str, headers: &str) -> std::io::Result<Answer> {
        let mut socket = self.connect()?;
        write!(socket, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")?;
        let mut raw = Vec::new();
        socket.read_to_end(&mut raw)?;
        let raw = String::from_utf8_lossy(&raw).into_owned();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((&raw, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Ok(Answer { status, head: head.to_owned(), body })
    }

    fn connect(&self) -> std::io::Result<Socket> {
        let address: SockAddr = match self.address.strip_prefix("unix:") {
            Some(path) => SockAddr::unix(path)?,
            None => self.address.parse::<std::net::SocketAddr>().unwrap().into(),
        };
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(&address)?;
        Ok(socket)
    }

    /// Everything the endpoint measures now.
    #[track_caller]
    pub(crate) fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        Scrape::read(&answer.body)
    }

    /// One value of a fresh scrape; see [`Scrape::get`].
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        self.scrape().get(series)
    }
}

/// One scrape: every series with its labels.
pub(crate) struct Scrape(Vec<(String, BTreeMap<String, String>, f64)>);

impl Scrape {
    /// Of a page as text.
    pub(crate) fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(
            samples
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    let (name, labels) = split(series);
                    (name, labels, value.parse().unwrap())
                })
                .collect(),
        )
    }

    /// Every series as it is written, and its value.
    pub(crate) fn all(&self) -> BTreeMap<String, f64> {
        self.0.iter().map(|(name, labels, value)| (format!("{name}{labels:?}"), *value)).collect()
    }

    /// The sum over all series of this name that carry at least these labels: `name` or `name{a="b",c="d"}`.
    /// Zero where there is none.
    pub(crate) fn get(&self, series: &str) -> f64 {
        let (name, labels) = split(series);
        let fits = |have: &BTreeMap<String, String>| labels.iter().all(|(key, value)| have.get(key) == Some(value));
        self.0.iter().filter(|(found, have, _)| *found == name && fits(have)).map(|(.., value)| value).sum()
    }

    /// What came is what was refused, what has ended and what is there.
    #[track_caller]
    pub(crate) fn adds_up(&self) {
        let came = self.get("peerway_listener_connections_total");
        let gone = self.get("peerway_listener_refused_total") + self.get("peerway_sessions_closed_total");
        let there = self.get("peerway_listener_active_connections");
        assert_eq!(came, gone + there, "came {came}, gone {gone}, there {there}");
    }

    /// What was counted is still there, and none of it is less than `before`; only series that are `wanted`.
    pub(crate) fn goes_on_from(&self, before: &Self, wanted: impl Fn(&str) -> bool) {
        let (before, now) = (before.all(), self.all());
        for (series, value) in before.iter().filter(|(series, _)| wanted(series)) {
            let name = series.split('{').next().unwrap_or_default();
            if ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end)) {
                let now = now.get(series).unwrap_or_else(|| panic!("{series} is gone"));
                assert!(now >= value, "{series} went from {value} to {now}");
            }
        }
    }
}

/// `name{a="b"}` in its parts. Label values in tests hold no quotes or commas.
fn split(series: &str) -> (String, BTreeMap<String, String>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()));
    (name.to_owned(), labels.collect())
}

fn unchunk(body: &str) -> String {
    let mut whole = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size.trim(), 16) else {
            break;
        };
        whole.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    whole
}
