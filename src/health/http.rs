//! `http`: it answers an HTTP/1.1 request as expected. One request on a connection of its own; redirects are answers
//! like any other.

use std::error::Error;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::line::MOST_SEEN;
use super::script::shown;
use super::tap::{Carrier, Tap, carried_by};
use super::{Checking, Line, Probe, ProbeError, USER_AGENT_SENT};
use crate::config::plan;
use crate::tls;
use crate::wire::{legible, quoted};

/// Headers of an answer: how many, and how large they may be together with the status line.
const MOST_HEADERS: usize = 100;
const LARGEST_HEAD: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Http {
    spec: Arc<plan::Http>,
    /// How TLS is spoken, where it is.
    tls: Option<tls::Client>,
}

impl Http {
    /// Asks over TLS if there is a way to.
    pub(super) fn new(spec: Arc<plan::Http>, tls: Option<tls::Client>) -> Self {
        Self { spec, tls: tls.map(|tls| tls.offering(&[b"http/1.1"])) }
    }
}

impl Probe for Http {
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a> {
        Box::pin(async move {
            if let Some(tls) = &self.tls {
                let host = self.spec.host.as_deref().unwrap_or(line.address()).to_owned();
                line.secure(tls, &host).await?;
            }
            let request = self.request(line.address())?;
            line.after_you();
            let mut heard = Vec::new();
            let asked = self.ask(Tap::new(line, &mut heard), request).await;
            asked.map_err(|problem| ProbeError::unexpected(problem.words(&heard)))
        })
    }
}

impl Http {
    /// # Errors
    /// What the configuration asks for cannot be said in HTTP.
    fn request(&self, address: &str) -> Result<Request<Empty<Bytes>>, ProbeError> {
        // A path in the file system is no name of a host.
        let address = if address.starts_with("unix:") { "localhost" } else { address };
        Request::builder()
            .method(self.spec.method.as_str())
            .uri(self.spec.path.as_str())
            .header(HOST, self.spec.host.as_deref().unwrap_or(address))
            .header(USER_AGENT, USER_AGENT_SENT)
            .header(ACCEPT, "*/*")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| ProbeError::local(format!("there is no such HTTP request: {error}")))
    }

    async fn ask(&self, tap: Tap<'_>, request: Request<Empty<Bytes>>) -> Result<(), Problem> {
        let mut builder = http1::Builder::new();
        builder.max_headers(MOST_HEADERS).max_header_size(LARGEST_HEAD).max_buf_size(2 * LARGEST_HEAD);
        let (mut sender, connection) = builder.handshake(TokioIo::new(tap)).await?;
        let conversation = async {
            let response = sender.send_request(request).await?;
            self.judge(response).await
        };
        carried_by(&mut Carrier::new(connection), conversation).await
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), Problem> {
        let code = response.status().as_u16();
        if !self.spec.status.iter().any(|(first, last)| (*first..=*last).contains(&code)) {
            return Err(Problem::Wrong(format!("{}, expected {}", status(&response), self.expected())));
        }
        let Some(pattern) = &self.spec.body else { return Ok(()) };
        let body = beginning(response.into_body()).await?;
        if pattern.0.is_match(&body) {
            return Ok(());
        }
        let body = if body.is_empty() { "which is empty".to_owned() } else { quoted(&body) };
        Err(Problem::Wrong(format!("{} matches nothing in the body, {body}", shown(pattern))))
    }

    fn expected(&self) -> String {
        let range = |(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        self.spec.status.iter().map(range).collect::<Vec<_>>().join(", ")
    }
}

/// The body, or as much of it as is looked at.
async fn beginning(mut body: Incoming) -> Result<Vec<u8>, Problem> {
    let mut beginning = Vec::new();
    while beginning.len() < MOST_SEEN
        && let Some(frame) = body.frame().await
    {
        let frame = frame?;
        let part = frame.data_ref().map_or(&[][..], |data| data);
        beginning.extend(part.iter().take(MOST_SEEN - beginning.len()));
    }
    Ok(beginning)
}

/// Such as `status 503 Service Unavailable`; the phrase is the server's own, if it has one.
pub(super) fn status<T>(response: &Response<T>) -> String {
    let code = response.status();
    let phrase = match response.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes) {
        Some(own) => legible(&String::from_utf8_lossy(own)),
        None => code.canonical_reason().unwrap_or_default().to_owned(),
    };
    format!("status {} {phrase}", code.as_u16()).trim_end().to_owned()
}

/// Why an answer is not the expected one.
#[derive(Debug)]
enum Problem {
    /// It is something else.
    Wrong(String),
    /// It is none.
    Broken(hyper::Error),
}

impl From<hyper::Error> for Problem {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error)
    }
}

impl Problem {
    /// In words, with how the answer began.
    fn words(self, heard: &[u8]) -> String {
        let error = match self {
            Self::Wrong(words) => return words,
            Self::Broken(error) => error,
        };
        let cause = error.source().map_or_else(|| error.to_string(), |cause| cause.to_string());
        if error.is_parse_too_large() {
            return format!("headers of more than {} KiB, or more than {MOST_HEADERS} of them", LARGEST_HEAD / 1024);
        }
        if !heard.iter().zip(b"HTTP/").all(|(heard, expected)| heard == expected) || error.is_parse() {
            return format!("not HTTP: {} ({})", quoted(heard), legible(&error.to_string()));
        }
        match (error.is_incomplete_message(), heard.is_empty()) {
            (true, true) => "it closed the connection".into(),
            (true, false) => format!("it closed the connection after {}", quoted(heard)),
            _ => format!("connection lost: {}", legible(&cause)),
        }
    }
}

#[cfg(test)]
mod tests;
