//! From a request to its answer: is it allowed, what does it ask for, who answers.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::{self, Answer, Refusal};
use super::guard::{Access, Guard};
use super::query::{Query, decode};
use super::{Process, State, api, config, explain, health, operate, scrape, upgrade};
use crate::metrics::Format;
use crate::tls::Server;

/// A request that is not answered by then is given up.
const REQUEST: Duration = Duration::from_secs(10);
/// Nothing here takes a larger body; only a plan takes one at all.
const BODY: usize = 1024 * 1024;
/// Pages that are rendered and not yet read. A page of a thousand backends has two megabytes, so a
/// storm of slow scrapers takes some thirty, and not sixty times two.
const PAGES: usize = 16;

/// Where an upgrade is asked for.
pub(super) const UPGRADE: &str = "/api/v1/upgrade";

const INDEX: &str = "\
Peerway

GET    /metrics                            metrics, Prometheus text or OpenMetrics
GET    /healthz                            200 while the process lives
GET    /readyz?pool=                       200 while it wants clients, 503 and why otherwise
GET    /api/v1/pools                       pools and their backends
GET    /api/v1/listeners                   listeners
GET    /api/v1/connections?limit=&after=&listener=&pool=&backend=
DELETE /api/v1/connections/{id}            resets one connection
POST   /api/v1/pools/{pool}/backends/{backend}/drain?within=5m
                                           no new sessions; those that live end spread over that time, or go on
POST   /api/v1/pools/{pool}/backends/{backend}/enable
                                           sessions again, also if the configuration disables it; goes back to its tier
POST   /api/v1/pools/{pool}/backends/{backend}/weight?value=5
DELETE /api/v1/pools/{pool}/backends/{backend}/override
                                           forgets all of that
GET    /api/v1/explain?listener=&client=IP:PORT&local=IP:PORT
                                           who a new session of this client would get, and why
GET    /api/v1/config                      the configuration in force, and the last attempt to change it
GET    /api/v1/config/history              the last ten attempts
POST   /api/v1/plan                        what a reload would change; body: a configuration, or nothing for the files
POST   /api/v1/reload?guard=60s            reads the files again
POST   /api/v1/upgrade                     has the program's file, as it is now, take over
GET    /api/v1/upgrade                     what became of the last time
";
const METRICS_INDEX: &str = "\
Peerway

GET /metrics         metrics, Prometheus text or OpenMetrics
GET /healthz         200 while the process lives
GET /readyz?pool=    200 while it wants clients, 503 and why otherwise
";

/// One endpoint: its rules, and what of the paths it has.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) guard: Guard,
    /// Metrics and health only.
    pub(super) metrics_only: bool,
    pub(super) process: Process,
    pub(super) pages: std::sync::Arc<Semaphore>,
}

impl Site {
    pub(super) fn new(guard: Guard, metrics_only: bool) -> Self {
        Self { guard, metrics_only, process: Process::default(), pages: std::sync::Arc::new(Semaphore::new(PAGES)) }
    }

    /// How its clients are spoken to, if not in the clear.
    pub(super) fn tls(&self, state: &State) -> Option<std::sync::Arc<Server>> {
        state.admin_tls.server().filter(|_| !self.metrics_only)
    }
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    Index,
    Healthz,
    Readyz,
    Metrics,
    Pools,
    Listeners,
    Connections,
    Connection(&'a str),
    Backend(operate::Named<'a>),
    Explain,
    Config,
    History,
    Plan,
    Reload,
    Upgrade,
}

/// Answers one request, in time.
pub(super) async fn respond(site: &Site, state: &State, request: Request<Incoming>) -> Answer {
    let late = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request took too long");
    let answered = timeout(REQUEST, judge(site, state, request)).await.unwrap_or_else(|_| Err(late()));
    answered.unwrap_or_else(Answer::from)
}

/// Refuses, or answers.
async fn judge(site: &Site, state: &State, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let place = admit(site, &head, site.tls(state).as_deref())?;
    let body = collect(body).await?;
    perform(site, state, place, &head, body).await
}

/// What is asked for, if it exists and the client may ask for it.
fn admit<'a>(site: &Site, head: &'a Parts, tls: Option<&Server>) -> Result<Place<'a>, Refusal> {
    site.guard.check_site(head, tls)?;
    let place = locate(head.uri.path()).filter(|place| !site.metrics_only || place.is_for_scrapers());
    let nothing = || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here; GET / says what there is");
    let place = place.ok_or_else(nothing)?;
    let access = place.access(&head.method)?;
    site.guard.check_token(&head.headers, access)?;
    Ok(place)
}

/// Whether a path leads somewhere, with a query that can be decoded. Only what tests of any input need to know.
pub fn understands(path: &str, query: Option<&str>) -> bool {
    let named = |named: operate::Named<'_>| decode(named.pool).is_ok() && decode(named.backend).is_ok();
    let found = locate(path).is_some_and(|place| match place {
        Place::Backend(backend) => named(backend),
        Place::Connection(id) => api::session_id(id).is_ok(),
        _ => true,
    });
    found && Query::parse(query, explain::PARAMETERS).is_ok()
}

fn locate(path: &str) -> Option<Place<'_>> {
    let place = match path {
        "/" => Place::Index,
        "/healthz" => Place::Healthz,
        "/readyz" => Place::Readyz,
        "/metrics" => Place::Metrics,
        "/api/v1/pools" => Place::Pools,
        "/api/v1/listeners" => Place::Listeners,
        "/api/v1/connections" => Place::Connections,
        "/api/v1/explain" => Place::Explain,
        "/api/v1/config" => Place::Config,
        "/api/v1/config/history" => Place::History,
        "/api/v1/plan" => Place::Plan,
        "/api/v1/reload" => Place::Reload,
        UPGRADE => Place::Upgrade,
        other => match other.strip_prefix("/api/v1/connections/") {
            Some(id) => Place::Connection(Some(id).filter(|id| !id.contains('/'))?),
            None => Place::Backend(operate::locate(other.strip_prefix("/api/v1/pools/")?)?),
        },
    };
    Some(place)
}

impl Place<'_> {
    fn is_for_scrapers(self) -> bool {
        matches!(self, Self::Index | Self::Healthz | Self::Readyz | Self::Metrics)
    }

    /// What a method does here; the refusal of those that do nothing.
    fn access(self, method: &Method) -> Result<Access, Refusal> {
        match (self, method) {
            (Self::Connection(_), &Method::DELETE) => Ok(Access::Write),
            // A plan changes nothing, but what it is asked for is work, and what it tells is the whole configuration.
            (Self::Plan | Self::Reload, &Method::POST) => Ok(Access::Write),
            (Self::Upgrade, &Method::POST) => Ok(Access::Write),
            (Self::Upgrade, &Method::GET | &Method::HEAD) => Ok(Access::Read),
            (Self::Upgrade, _) => Err(Refusal::wrong_method("GET, HEAD, POST")),
            (Self::Plan | Self::Reload, _) => Err(Refusal::wrong_method("POST")),
            (Self::Connection(_), _) => Err(Refusal::wrong_method("DELETE")),
            (Self::Backend(named), method) => match (named.word, method) {
                (operate::Word::Override, &Method::DELETE) => Ok(Access::Write),
                (operate::Word::Override, _) => Err(Refusal::wrong_method("DELETE")),
                (_, &Method::POST) => Ok(Access::Write),
                _ => Err(Refusal::wrong_method("POST")),
            },
            (Self::Healthz | Self::Readyz, &Method::GET | &Method::HEAD) => Ok(Access::Open),
            (_, &Method::GET | &Method::HEAD) => Ok(Access::Read),
            _ => Err(Refusal::wrong_method("GET, HEAD")),
        }
    }

    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Readyz => &["pool"],
            Self::Connections => api::CONNECTION_FILTERS,
            Self::Explain => explain::PARAMETERS,
            Self::Backend(named) => named.word.parameters(),
            Self::Reload => config::RELOAD_PARAMETERS,
            _ => &[],
        }
    }
}

/// Reads the body, also where it is not wanted, so that the connection can be used again.
async fn collect(body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB");
    if body.size_hint().lower() > BODY as u64 {
        return Err(too_large());
    }
    match Limited::new(body, BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refusal::bad("the body did not arrive whole")),
    }
}

async fn perform(site: &Site, state: &State, place: Place<'_>, head: &Parts, body: Bytes) -> Result<Answer, Refusal> {
    // Whoever probes or scrapes may add what it likes; a filter of the API must mean what it says.
    let strict = !matches!(place, Place::Index | Place::Healthz | Place::Metrics);
    let query = Query::parse(head.uri.query().filter(|_| strict), place.parameters()).map_err(Refusal::bad)?;
    match place {
        Place::Index => Ok(answer::text(StatusCode::OK, if site.metrics_only { METRICS_INDEX } else { INDEX })),
        Place::Healthz => Ok(health::healthz()),
        Place::Readyz => Ok(health::readyz(state, &query)),
        Place::Metrics => metrics(site, state, &head.headers).await,
        Place::Pools => Ok(api::pools(state).await),
        Place::Listeners => Ok(api::listeners(state).await),
        Place::Connections => api::connections(state, &query).await,
        Place::Connection(id) => api::kill(state, id).await,
        Place::Backend(named) => operate::say(state, named, &query).await,
        Place::Explain => explain::explain(state, &query),
        Place::Config => Ok(config::config(state)),
        Place::History => Ok(config::history(state)),
        Place::Plan => config::plan(state, body, is_json(&head.headers)).await,
        Place::Reload => config::reload(state, &query).await,
        Place::Upgrade if head.method == Method::POST => upgrade::upgrade(state).await,
        Place::Upgrade => Ok(upgrade::last(state)),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// A page, once there is room for one.
async fn metrics(site: &Site, state: &State, headers: &HeaderMap) -> Result<Answer, Refusal> {
    let closing = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the endpoint is closing");
    let room = site.pages.clone().acquire_owned().await.map_err(closing)?;
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    state.elders.refresh().await;
    if state.upgrades.is_replaced() {
        let replaced = "another process has taken over; this connection is still one to the old one";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, replaced));
    }
    let page = Page { text: scrape(state, &site.process, format), _room: room };
    Ok(answer::with(StatusCode::OK, HeaderValue::from_static(format.content_type()), Bytes::from_owner(page)))
}

/// A page that holds its room until it is with the kernel.
struct Page {
    text: String,
    _room: tokio::sync::OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_they_stand() {
        assert_eq!(locate("/api/v1/connections/12"), Some(Place::Connection("12")));
        for nothing in [
            "",
            "//",
            "/metrics/",
            "/metrics/../metrics",
            "/api/v1",
            "/api/v1/connections/1/2",
            "/api/v1/connections/../pools",
        ] {
            assert_eq!(locate(nothing), None, "{nothing}");
        }
    }
}
