//! `grpc`: its gRPC health service, `grpc.health.v1.Health`, says SERVING.
//!
//! HTTP/2 with prior knowledge, by the h2 crate and within narrow limits: one stream, small windows, no pushes. The
//! status is asked for once and not watched, so that a backend that hangs is seen.

use std::io;
use std::sync::Arc;

use h2::client::{Builder, Connection, SendRequest};
use h2::{RecvStream, SendStream};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::http::status;
use super::line::PARTING;
use super::tap::{Carrier, Tap, carried_by};
use super::{Checking, Line, Probe, ProbeError, USER_AGENT_SENT};
use crate::wire::{grpc, legible, quoted};

/// What may come before a window has to be opened, in bytes; more than a response may have.
const WINDOW: u32 = 16 * 1024;
/// The smallest that HTTP/2 allows.
const LARGEST_FRAME: u32 = 16 * 1024;
/// All headers of an answer together, as HTTP/2 counts them.
const LARGEST_HEADERS: u32 = 16 * 1024;
/// Streams that were reset and are still remembered; there is one at most.
const MOST_RESET: usize = 4;

/// See the module. The service that is asked about; `None` is the server as a whole.
#[derive(Debug)]
pub(super) struct Grpc(pub(super) Option<Arc<str>>);

impl Probe for Grpc {
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a> {
        Box::pin(async move {
            let request = request(line)?;
            let mut heard = Vec::new();
            let asked = self.ask(Tap::new(line, &mut heard), request).await;
            asked.map_err(|problem| ProbeError::unexpected(problem.words(&heard)))
        })
    }
}

/// # Errors
/// The address cannot be said in HTTP/2.
fn request(line: &Line) -> Result<Request<()>, ProbeError> {
    // A path in the file system is no name of a host.
    let host = if line.address().starts_with("unix:") { "localhost" } else { line.address() };
    let scheme = if line.is_secure() { "https" } else { "http" };
    Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{host}{}", grpc::CHECK))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, USER_AGENT_SENT)
        .body(())
        .map_err(|error| ProbeError::local(format!("there is no such HTTP/2 request: {error}")))
}

impl Grpc {
    async fn ask(&self, tap: Tap<'_>, request: Request<()>) -> Result<(), Problem> {
        let (sender, connection) = connect(tap).await?;
        let mut connection = Carrier::new(connection);
        let answer = carried_by(&mut connection, self.converse(sender, request)).await;
        // With nothing left to talk about it says GOAWAY; a server that does not take even that must not spoil what
        // it has answered.
        let _ = timeout(PARTING, connection.ended()).await;
        answer
    }

    async fn converse(&self, sender: SendRequest<Bytes>, request: Request<()>) -> Result<(), Problem> {
        let mut sender = sender.ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        self.say(&mut stream)?;
        judge(response.await?, self.0.as_deref()).await
    }

    /// All of the request fits into the window that every server begins with.
    fn say(&self, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
        stream.send_data(grpc::check(self.0.as_deref()).into(), true)
    }
}

async fn connect(tap: Tap<'_>) -> Result<(SendRequest<Bytes>, Connection<Tap<'_>, Bytes>), h2::Error> {
    Builder::new()
        .enable_push(false)
        .initial_window_size(WINDOW)
        .max_frame_size(LARGEST_FRAME)
        .max_header_list_size(LARGEST_HEADERS)
        .max_concurrent_streams(1)
        .max_concurrent_reset_streams(MOST_RESET)
        .max_local_error_reset_streams(Some(MOST_RESET))
        .max_send_buffer_size(WINDOW as usize)
        .handshake(tap)
        .await
}

/// The status stands in the trailers, or in the headers of an answer that has no message.
async fn judge(response: Response<RecvStream>, service: Option<&str>) -> Result<(), Problem> {
    if response.status() != StatusCode::OK {
        return Err(Problem::Wrong(format!("{}, not gRPC", status(&response))));
    }
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    if !kind.starts_with(b"application/grpc") {
        return Err(Problem::Wrong(format!("content of type {}, not gRPC", quoted(kind))));
    }
    if let Some(error) = grpc_error(response.headers(), service) {
        return Err(error);
    }
    let mut body = response.into_body();
    let message = message(&mut body).await?;
    let trailers = body.trailers().await?.unwrap_or_default();
    if let Some(error) = grpc_error(&trailers, service) {
        return Err(error);
    }
    if !trailers.contains_key(STATUS) {
        return Err(Problem::Wrong("the answer has no grpc-status".into()));
    }
    match grpc::status(&message) {
        Ok(Some((grpc::SERVING, taken))) if taken == message.len() => Ok(()),
        Ok(Some((other, taken))) if taken == message.len() => Err(Problem::Wrong(grpc::status_name(other))),
        Ok(Some(_)) => Err(Problem::Wrong("more than one message, where one was asked for".into())),
        Ok(None) => Err(Problem::Wrong(format!("a message that is cut short, {}", quoted(&message)))),
        Err(malformed) => Err(Problem::Wrong(malformed.0)),
    }
}

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
/// The code for a service that the server does not know.
const NOT_FOUND: u32 = 5;

/// All of the body, which is one message.
async fn message(body: &mut RecvStream) -> Result<Vec<u8>, Problem> {
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        message.extend_from_slice(&part?);
        if message.len() > grpc::FRAME + grpc::LONGEST_RESPONSE {
            return Err(Problem::Wrong(format!("more than {} bytes of answer", grpc::LONGEST_RESPONSE)));
        }
    }
    Ok(message)
}

/// The error that a status other than 0 is; one that is not there is none yet.
fn grpc_error(headers: &HeaderMap, service: Option<&str>) -> Option<Problem> {
    let status = headers.get(STATUS)?;
    let code = status.to_str().ok().and_then(|code| code.parse::<u32>().ok());
    let message = headers.get(MESSAGE).filter(|message| !message.is_empty());
    let message = message.map(|message| format!(": {}", quoted(&grpc::decoded(message.as_bytes()))));
    let message = message.unwrap_or_default();
    let service = service.map(|service| format!(" {}", quoted(service.as_bytes()))).unwrap_or_default();
    Some(Problem::Wrong(match code {
        Some(0) => return None,
        Some(NOT_FOUND) => format!("service{service} unknown{message}"),
        Some(code) => format!("grpc-status {code} {}{message}", grpc::code_name(code)),
        None => format!("a grpc-status of {}{message}", quoted(status.as_bytes())),
    }))
}

/// Why an answer is not the expected one.
#[derive(Debug)]
enum Problem {
    /// It is something else.
    Wrong(String),
    /// It is none.
    Broken(h2::Error),
}

impl From<h2::Error> for Problem {
    fn from(error: h2::Error) -> Self {
        Self::Broken(error)
    }
}

impl Problem {
    /// In words, with how the answer began.
    fn words(self, heard: &[u8]) -> String {
        /// Where a frame has its type, and the type of the one that every server begins with.
        const TYPE: usize = 3;
        const SETTINGS: u8 = 4;
        /// How h2 calls an end of stream in the middle of something.
        const ENDS: [io::ErrorKind; 2] = [io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof];
        match self {
            Self::Wrong(words) => words,
            Self::Broken(_) if heard.is_empty() => "it closed the connection".into(),
            Self::Broken(_) if heard.get(TYPE) != Some(&SETTINGS) => format!("not HTTP/2: {}", quoted(heard)),
            Self::Broken(error) => match error.get_io() {
                Some(io) if ENDS.contains(&io.kind()) => "it closed the connection".into(),
                Some(io) => format!("connection lost: {io}"),
                None => legible(&error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
