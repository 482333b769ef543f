//! Asking a running process: where it is, how it is spoken to, and what is said when it does not answer.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::place::Place;
use super::say::print_json;
use super::secure::Trust;

/// A process on this machine that has not answered by then is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any answer of the API has.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// How to reach a running process.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ClientArgs {
    /// The admin endpoint of the running process: IP:PORT, HOST:PORT or unix:PATH; https://HOST:PORT where it has TLS
    #[arg(long, env = "PEERWAY_ADMIN", default_value = "127.0.0.1:9901", value_name = "ADDRESS")]
    pub(super) admin: Place,
    /// File with the authorities that may have signed the certificate of an https:// endpoint, PEM; else the system's
    #[arg(long, env = "PEERWAY_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// File with the token, where the process asks for one
    #[arg(long, env = "PEERWAY_TOKEN", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Print the API's JSON as it is, also where it says no
    #[arg(long)]
    pub(super) json: bool,
}

/// Why a client command failed; all of these are exit code 1 but a bad configuration, which is 78.
#[derive(Debug)]
pub(super) enum CliError {
    /// Nobody answers there.
    Unreachable(Place, String),
    /// The process said no.
    Refused(StatusCode, String),
    /// The configuration is no good: every error, one a line.
    BadConfig(String),
    /// The process carried it out and then took it back, or lost sight of it.
    Failed(String),
    /// What came back is not an answer of this API.
    Strange(Place, String),
    /// The token cannot be read.
    Token(PathBuf, io::Error),
    /// Nobody can be verified, or nobody would be.
    Trust(String),
    /// Standard output is gone.
    Output(io::Error),
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(place, why) => {
                let listen = match place {
                    Place::Tls(address) => format!("{address}, tls: …"),
                    place => place.to_string(),
                };
                write!(
                    f,
                    "no answer from the admin endpoint at {place}: {why}\n\
                     Is peerway running, with `admin: {{ listen: {listen} }}` in its configuration?\n\
                     Another address is given with --admin or in PEERWAY_ADMIN."
                )
            }
            Self::Refused(StatusCode::UNAUTHORIZED, detail) => {
                write!(f, "{detail}\nThe file that holds it is given with --token-file or in PEERWAY_TOKEN.")
            }
            Self::Refused(status, detail) if detail.is_empty() => write!(f, "refused: {status}"),
            Self::Refused(_, detail) | Self::BadConfig(detail) | Self::Failed(detail) => f.write_str(detail),
            Self::Strange(place, what) => write!(f, "{place} does not answer like a peerway admin endpoint: {what}"),
            Self::Token(path, error) => write!(f, "cannot read the token in {}: {error}", path.display()),
            Self::Trust(why) => f.write_str(why),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl std::error::Error for CliError {}

/// A problem as the API describes it.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
}

impl ClientArgs {
    /// Sends one request and gives the body of a good answer.
    ///
    /// # Errors
    /// Nobody answers, or not with success.
    pub(super) fn ask(&self, method: Method, path: &str) -> Result<Bytes, CliError> {
        self.send(method, path, None)
    }

    /// The same with JSON to tell.
    ///
    /// # Errors
    /// Nobody answers, or not with success.
    pub(super) fn tell(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Bytes, CliError> {
        let body =
            serde_json::to_vec(body).map_err(|error| CliError::Strange(self.admin.clone(), error.to_string()))?;
        self.send(method, path, Some(body.into()))
    }

    fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, CliError> {
        let unreachable = |why: String| CliError::Unreachable(self.admin.clone(), why);
        let request = self.request(method, path, body)?;
        let trust = self.trust()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unreachable(error.to_string()))?;
        let asked = runtime.block_on(async { timeout(PATIENCE, exchange(&self.admin, trust.as_ref(), request)).await });
        // A resolver that hangs must not hold up the end.
        runtime.shutdown_background();
        let late = format!("nothing came within {} seconds", PATIENCE.as_secs());
        let (status, body) = asked.unwrap_or(Err(late)).map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        if self.json {
            print_json(&body)?;
        }
        let detail = serde_json::from_slice::<Problem>(&body).map(|problem| problem.detail).unwrap_or_default();
        match status {
            StatusCode::UNPROCESSABLE_ENTITY => Err(CliError::BadConfig(detail)),
            status => Err(CliError::Refused(status, detail)),
        }
    }

    /// Reads an answer's JSON.
    ///
    /// # Errors
    /// It is not what this program's API gives.
    pub(super) fn read<'a, T: Deserialize<'a>>(&self, body: &'a [u8]) -> Result<T, CliError> {
        serde_json::from_slice(body).map_err(|error| CliError::Strange(self.admin.clone(), error.to_string()))
    }

    /// What verifies the endpoint, if it has TLS.
    fn trust(&self) -> Result<Option<Trust>, CliError> {
        match &self.admin {
            Place::Tls(_) => Trust::new(self.ca.as_deref()).map(Some).map_err(CliError::Trust),
            // Whoever asks for someone to be verified must not be answered by anybody.
            Place::Tcp(address) if self.ca.is_some() => Err(CliError::Trust(format!(
                "--ca (or PEERWAY_CA) is for endpoints with TLS, and {address} is not spoken to so: write https://{address}"
            ))),
            Place::Tcp(_) | Place::Unix(_) => Ok(None),
        }
    }

    fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Request<Full<Bytes>>, CliError> {
        // Names other than localhost are refused there: a name is how foreign web pages get in.
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file).map_err(|error| CliError::Token(file.clone(), error))?;
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| CliError::Strange(self.admin.clone(), error.to_string()))
    }
}

/// One request on a connection of its own; errors in words.
async fn exchange(
    place: &Place,
    trust: Option<&Trust>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let response = match (place, trust) {
        (Place::Unix(path), _) => send(UnixStream::connect(path).await.map_err(text)?, request).await,
        (Place::Tcp(address), _) => send(TcpStream::connect(address).await.map_err(text)?, request).await,
        (Place::Tls(address), Some(trust)) => {
            let stream = TcpStream::connect(address).await.map_err(text)?;
            send(trust.secure(address, stream).await?, request).await
        }
        (Place::Tls(_), None) => Err("nobody can be verified".into()),
    }?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(text)?;
    Ok((status, body.to_bytes()))
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    // Its errors come out of the sender as well.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| match error.is_parse() {
        true => "it does not speak HTTP: if it has `tls` in its `admin`, write https:// before the address".into(),
        false => text(error),
    })
}

fn text(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> String {
    let error = error.into();
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// `name=value` pairs as a query, encoded; those without a value are left out.
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs.iter().filter_map(|(name, value)| value.map(|value| (name, value))) {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        query.push_str(&encode(value));
    }
    query
}

/// Percent-encodes all but letters, digits and `-._~`.
pub(super) fn encode(value: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(one).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded() {
        assert_eq!(query(&[("a", Some("x y/%&")), ("b", None), ("c", Some("1"))]), "?a=x%20y%2F%25%26&c=1");
    }

    #[test]
    fn who_does_not_answer_is_named_with_the_remedy() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let args = ClientArgs { admin: free.to_string().parse().unwrap(), ca: None, token_file: None, json: false };
        let said = args.ask(Method::GET, "/").unwrap_err().to_string();
        assert!(said.contains(&free.to_string()) && said.contains("--admin") && said.contains("refused"), "{said}");
    }
}
