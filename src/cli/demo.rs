//! `peerway demo`: a proxy before three small HTTP backends, all in this process.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::say::{complain, fail};
use super::{environment, run};
use crate::admin::Origin;
use crate::app::{Configured, Control};
use crate::balance::CATALOGUE;
use crate::config::{self, Reach, Source};

const NAMES: [&str; 3] = ["red", "green", "blue"];

/// Runs the demo until a signal ends it.
pub(super) fn demo() -> ExitCode {
    let backends = match NAMES.map(|_| bind()).into_iter().collect::<io::Result<Vec<_>>>() {
        Ok(backends) => backends,
        Err(error) => return fail(format_args!("cannot start the demo's backends: {error}")),
    };
    let text = yaml(&backends);
    let source = Source { path: "demo.yaml".into(), text: text.clone() };
    let loaded = match config::parse_all(&Reach::default(), &[source], &CATALOGUE, &environment) {
        Ok(loaded) => loaded,
        Err(errors) => return fail(errors),
    };
    let control = match Control::new() {
        Ok(control) => control,
        Err(error) => return fail(error),
    };
    complain(invitation(&text));
    let origin = Origin { paths: Vec::new(), env: environment, reach: Reach::default() };
    run::serve(control, Configured { loaded, origin }, serve_all(backends))
}

fn bind() -> io::Result<StdTcpListener> {
    let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The demo's configuration: what a user's own first file looks like.
fn yaml(backends: &[StdTcpListener]) -> String {
    let backend = |(name, listener): (&str, &StdTcpListener)| {
        let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
        format!("      - {{ name: {name}, address: \"{address}\" }}\n")
    };
    let backends: String = NAMES.into_iter().zip(backends).map(backend).collect();
    format!(
        "admin: {{ listen: 127.0.0.1:9901 }}\n\
         log: {{ format: text, access: {{ to: stdout }} }}\n\
         listeners:\n  web:\n    bind: 127.0.0.1:8080\n    pool: web\n\
         pools:\n  web:\n    policy: round_robin\n    backends:\n{backends}\
         \x20   health: {{ probe: http, interval: 1s }}\n"
    )
}

fn invitation(yaml: &str) -> String {
    let yaml: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "Three HTTP backends named {}, and a proxy before them with this configuration:\n\n{yaml}\n\
         Try, in another terminal:\n\n\
         \x20   curl http://127.0.0.1:8080/            # again and again: the backends take turns\n\
         \x20   curl http://127.0.0.1:9901/metrics     # what is counted\n\
         \x20   peerway pools                          # the backends, and how they are\n\
         \x20   peerway drain web/red                  # nobody new goes there; `peerway release web/red` takes it back\n\
         \x20   peerway connections                    # who is connected now\n\n\
         Below are the logs; Ctrl-C ends it.\n",
        NAMES.join(", ")
    )
}

async fn serve_all(backends: Vec<StdTcpListener>) {
    let mut serving = JoinSet::new();
    for (name, listener) in NAMES.into_iter().zip(backends) {
        serving.spawn(serve(name, listener));
    }
    serving.join_all().await;
}

async fn serve(name: &'static str, listener: StdTcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let served = Arc::new(AtomicU64::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(answer(name, stream, served.clone()))),
            // Out of descriptors: the proxy is told the same and backs off; so does its demo.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// Answers every request of one connection with the backend's name.
async fn answer(name: &'static str, stream: TcpStream, served: Arc<AtomicU64>) {
    let service = service_fn(|request: Request<Incoming>| {
        let count = served.fetch_add(1, Ordering::Relaxed) + 1;
        let body = format!("This is backend {name}, request {count} here: {} {}\n", request.method(), request.uri());
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))) }
    });
    // A client that breaks off is a client that breaks off.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
