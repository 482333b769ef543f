//! A server that a test plays line by line, as protocols of questions and answers want it.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ask::ask;
use super::{Line, ProbeError, build, fixture};
use crate::config::plan;
use crate::connect::{ConnectError, Connector, Dial};
use crate::metrics::ProbeResult;
use crate::net::Stream;

/// Nothing here takes nearly as long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server's end of a line.
pub(super) struct Server(Box<dyn Socket>);

pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

impl Server {
    pub(super) async fn says(&mut self, bytes: impl AsRef<[u8]>) {
        // A probe that has heard enough may have gone.
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// What comes next must be this.
    #[track_caller]
    pub(super) fn hears<'a>(&'a mut self, expected: impl AsRef<[u8]> + 'a) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let mut bytes = vec![0; expected.as_ref().len()];
            self.0.read_exact(&mut bytes).await.unwrap_or_else(|error| panic!("{caller}: {error}"));
            assert_eq!(bytes.escape_ascii().to_string(), expected.as_ref().escape_ascii().to_string(), "{caller}");
        }
    }

    /// Whatever comes next, in one piece.
    pub(super) async fn hears_something(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let read = self.0.read(&mut bytes).await.unwrap();
        bytes.truncate(read);
        bytes
    }

    /// Nothing comes any more but the end.
    pub(super) async fn hears_the_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.escape_ascii().to_string(), "");
    }
}

/// It must not be well, and say this; the password of these tests, `secret`, must not be in it.
#[track_caller]
pub(super) fn fails(found: Result<(), ProbeError>, result: ProbeResult, words: &str) {
    let error = found.unwrap_err();
    assert!(error.result == result && error.words.contains(words), "{error:?}");
    assert!(!error.words.contains("secret"), "{error:?}");
}

/// What the probe makes of a server over TCP that does what `story` says, and then closes.
pub(super) async fn told<S>(probe: plan::Probe, story: impl FnOnce(Server) -> S) -> Result<(), ProbeError>
where
    S: Future<Output = ()> + Send + 'static,
{
    let (line, server) = fixture::tcp_pair().await;
    tell(probe, line, story(Server(Box::new(server)))).await
}

/// The same over a unix socket, where nobody else can listen.
pub(super) async fn told_privately<S>(probe: plan::Probe, story: impl FnOnce(Server) -> S) -> Result<(), ProbeError>
where
    S: Future<Output = ()> + Send + 'static,
{
    let (line, server) = fixture::pair();
    tell(probe, line, story(Server(Box::new(server)))).await
}

/// What comes of it when the monitor asks, in so much time, a server that does what `story` says.
pub(super) async fn asked<S>(
    probe: plan::Probe,
    limit: Duration,
    story: impl FnOnce(Server) -> S,
) -> (Result<(), ProbeError>, JoinHandle<()>)
where
    S: Future<Output = ()> + Send + 'static,
{
    let (ours, theirs) = UnixStream::pair().unwrap();
    let story = tokio::spawn(story(Server(Box::new(theirs))));
    let ours = Arc::new(Mutex::new(Some(Stream::try_from(ours).unwrap())));
    let connector = Connector::new(move |_: Dial| {
        let stream = ours.lock().unwrap().take().unwrap();
        async move { Ok::<_, ConnectError>(stream) }
    });
    (ask(connector, fixture::dial(1, limit), build(&probe).into()).await.0, story)
}

async fn tell(
    probe: plan::Probe,
    mut line: Line,
    story: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ProbeError> {
    let story = tokio::spawn(story);
    let found = timeout(PATIENCE, build(&probe).check(&mut line)).await.expect("the probe ends");
    line.hang_up().await;
    timeout(PATIENCE, story).await.expect("the server ends").unwrap();
    found
}
