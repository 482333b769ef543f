//! The story of a connection, top to bottom, one verb a line.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use arc_swap::ArcSwap;
use tokio::time::sleep_until;

use crate::admission::Permit;
use crate::connect::{Caller, Connector};
use crate::intake::{self, Facts, Inbound, Introduction, Secure};
use crate::ledger::{Entry, Failure, Ledger, Outcome, Record};
use crate::listener::Accepted;
use crate::metrics::Phase;
use crate::net::{Family, Stream, errno, unless_failed};
use crate::pool::{Claimed, Pool};
use crate::relay::{self, Ends, Meter, Workbench};
use crate::route::{Found, Lead, Live, Shown, Table};
use crate::upstream::{self, DialError, Dialed};
use crate::wire::proxy::{ALPN, SSL, UNIQUE_ID};

/// What every session of one worker is served with.
#[derive(Debug)]
pub struct Context {
    /// The configuration in force.
    pub live: Arc<ArcSwap<Live>>,
    /// Where sessions are written down.
    pub ledger: Arc<Ledger>,
    /// What dials backends.
    pub connector: Connector,
    /// The worker's tools.
    pub bench: Arc<Workbench>,
}

/// Serves one client from accept to the one end of its session. Its record is opened by whoever accepts, before that one
/// may leave: a process that ends with its last session must not find none between the two.
#[allow(clippy::manual_async_fn, reason = "what an `async fn` is called with it keeps twice for as long as it runs")]
pub fn serve(ctx: Arc<Context>, accepted: Box<Accepted>, entry: Entry) -> impl Future<Output = ()> + Send {
    async move {
        let ending = {
            let conversation = pin!(converse(&ctx, accepted, &entry));
            entry.unless_stopped(conversation).await
        }; // here both sockets are closed, so that whoever reads of the end finds it true
        entry.close(ending);
    }
}

async fn converse(ctx: &Context, accepted: Box<Accepted>, entry: &Entry) -> Result<Outcome, Failure> {
    // Boxed, so that an hour-long relay does not carry the room that it took to get there. In this order, since the places
    // are free only when the sockets are closed, which are dropped first.
    let Linked { permit, place, head, client, backend } = Box::pin(link(ctx, accepted, entry)).await?;
    let meter = Meter {
        tally: &entry.record().tally,
        route: entry.record().cells(),
        place: &place,
        share: permit.share(),
        bench: &ctx.bench,
    };
    let mode = entry.record().listener.relay();
    let end = relay::run(Ends { client: &client, backend: &backend }, head, mode, &meter).await;
    meter.ended(&end);
    Ok(Outcome::relayed(end, entry.record().phase()))
}

/// A client and a backend, with the places that they have.
struct Linked {
    permit: Permit,
    place: Claimed,
    /// What was read of the client's bytes already.
    head: Vec<u8>,
    client: Stream,
    backend: Stream,
}

/// Gets from a client that was let in to a backend that serves it.
async fn link(ctx: &Context, accepted: Box<Accepted>, entry: &Entry) -> Result<Linked, Failure> {
    let mut inbound = intake::receive(*accepted).await?;
    entry.introduced(inbound.introduction.take());
    let record = entry.record();
    intake::prepare(&mut inbound, &record.listener, record.started()).await?;
    inbound = intake::secure(inbound, &record.listener, record.peer(), record.started()).await?;
    let pool = match choose(ctx, entry, &mut inbound).await? {
        Lead::Pool(pool) => pool,
        Lead::Reject => return Err(Failure::Rejected),
        Lead::Drop => return Err(Box::pin(keep_silent(entry, inbound)).await),
        Lead::Nowhere => return Err(Failure::NoRoute),
    };
    entry.routed(&pool);
    let speaks = hear(&mut inbound, &ctx.bench)?;
    let dialed = reach(ctx, entry, &pool, &inbound, speaks).await?;
    let Inbound { permit, stream: client, head, .. } = inbound;
    Ok(Linked { permit, place: dialed.lease.into_claimed(), head, client, backend: dialed.stream })
}

/// Finds out where the session goes, and reads no more of the client's bytes than that takes.
async fn choose(ctx: &Context, entry: &Entry, inbound: &mut Inbound) -> Result<Lead, Failure> {
    let at_once = {
        let live = ctx.live.load(); // for a look that holds it against nobody; what waits takes its own hold
        let table = live.routes(&entry.record().listener).ok_or(Failure::NoRoute)?;
        judge(entry.record(), table, &inbound.head, inbound.facts.as_deref()).map(|found| lead(entry, table, found))
    };
    match at_once {
        Some(lead) => {
            entry.shown(inbound.facts.take());
            Ok(lead)
        }
        None => Box::pin(choose_by_first_bytes(ctx, entry, inbound)).await,
    }
}

/// The same for a session that has to show more of itself first.
async fn choose_by_first_bytes(ctx: &Context, entry: &Entry, inbound: &mut Inbound) -> Result<Lead, Failure> {
    let live = ctx.live.load_full(); // one configuration for the whole choice, and not longer
    let record = entry.record();
    let table = live.routes(&record.listener).ok_or(Failure::NoRoute)?;
    let by = record.started() + record.listener.settings().timeouts.sniff;
    let judge = |head: &[u8], facts: Option<&Facts>| judge(record, table, head, facts);
    // That configuration may be another one than the one that could not tell.
    let found = match judge(&inbound.head, inbound.facts.as_deref()) {
        Some(found) => Ok(found),
        None => intake::sniff(inbound, by, &record.listener, judge).await,
    };
    entry.shown(inbound.facts.take());
    Ok(lead(entry, table, found?))
}

/// Which route takes a session that shows this; None while that is not known.
fn judge(record: &Record, table: &Table, head: &[u8], facts: Option<&Facts>) -> Option<Found> {
    let authority = record.introduction().and_then(Introduction::authority);
    let (client, port, authority) = (record.client().ip(), record.local().port(), authority.as_deref());
    let found = table.find(&Shown { client, port, facts, head, authority });
    (found != Found::Undecided).then_some(found)
}

/// Where that route leads.
fn lead(entry: &Entry, table: &Table, found: Found) -> Lead {
    if let Found::Route(index) = found {
        entry.matched(index);
    }
    table.lead(found, entry.record().client())
}

/// Holds a client, unread, until it leaves or the time for its handshake is over.
async fn keep_silent(entry: &Entry, inbound: Inbound) -> Failure {
    let Inbound { permit, stream, .. } = inbound;
    let record = entry.record();
    if let Some(held) = permit.hold() {
        let until = record.started() + record.listener.settings().timeouts.handshake;
        let _ = unless_failed(&stream, pin!(sleep_until(until.into()))).await;
        drop((stream, held));
    }
    Failure::Rejected
}

/// Whether the client has said something by now. What it has is read where it can be, for that is what asking would cost.
fn hear(inbound: &mut Inbound, bench: &Workbench) -> Result<bool, Failure> {
    let Inbound { stream, head, .. } = inbound;
    if !head.is_empty() {
        return Ok(true);
    }
    // A unix socket is not read ahead: only what is left unread in it makes its close an abort.
    let Some(socket) = stream.plain().filter(|socket| socket.family() == Family::Tcp) else {
        return Ok(stream.has_unread());
    };
    match bench.read_ahead(socket) {
        Ok(bytes) => *head = bytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(Failure::ClientFailed(errno(&error))),
    }
    Ok(!head.is_empty())
}

/// Dials, and gives up at once if the client's socket fails meanwhile.
async fn reach(
    ctx: &Context,
    entry: &Entry,
    pool: &Arc<Pool>,
    inbound: &Inbound,
    speaks: bool,
) -> Result<Dialed, Failure> {
    let Inbound { stream: client, head, destination, asked, .. } = inbound;
    let record = entry.record();
    let (introduction, facts) = (record.introduction(), record.facts());
    let told = |kind| introduction.and_then(|told| told.fields.as_ref()?.get(kind));
    let authority = introduction.and_then(Introduction::authority);
    let secure = facts.as_ref().and_then(|facts| facts.secure.as_ref()).map(Secure::told);
    let caller = Caller {
        client: record.client(),
        local: *destination,
        id: &record.id,
        unique_id: told(UNIQUE_ID),
        server_name: facts.as_ref().and_then(|facts| facts.sni.as_deref()).or(authority.as_deref()),
        asked: *asked,
        speaks,
        alpn: facts.as_ref().and_then(|facts| facts.protocol()).or(told(ALPN)),
        ssl: secure.as_deref().or(told(SSL)),
    };
    // Boxed, so that neither this nor what carries it is too large for the blocks that the allocator keeps at hand.
    let mut dialing = Box::pin(upstream::dial(pool, &ctx.connector, &caller, |event| entry.heard(event)));
    let dialing = pin!(unless_left(entry, client, head, dialing.as_mut()));
    let dialed = unless_failed(client, dialing).await.map_err(Failure::ClientFailed)??;
    entry.established(dialed.lease.backend(), dialed.target.clone(), dialed.local);
    Ok(dialed)
}

/// Dials, and stops waiting in the queue for a client that leaves: one that closes its direction and
/// has sent nothing wants nothing. One that has sent bytes may be waiting for its answer.
async fn unless_left(
    entry: &Entry,
    client: &Stream,
    head: &[u8],
    mut dialing: Pin<&mut impl Future<Output = Result<Dialed, DialError>>>,
) -> Result<Dialed, Failure> {
    let mut watching = head.is_empty();
    poll_fn(|cx| {
        if let Poll::Ready(result) = dialing.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(Failure::Dial));
        }
        while watching && entry.record().phase() == Phase::Queue && client.poll_read_ready(cx).is_ready() {
            match client.peek(&mut [0]) {
                Ok(0) => return Poll::Ready(Err(Failure::ClientLeft)),
                Ok(_) => watching = false,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(Failure::ClientFailed(errno(&error)))),
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    //! Sessions over real sockets with connectors that misbehave as no kernel does on demand.

    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::admission::Gate;
    use crate::balance::CATALOGUE;
    use crate::config::plan::Overflow;
    use crate::connect::{ConnectError, Dial};
    use crate::ledger::AccessLogs;
    use crate::listener::ListenerLive;
    use crate::metrics::{Cause, Side};
    use crate::net::{Peer, arm_reset};
    use crate::pool::{Keeper, Tools};
    use crate::route::{Listening, Table};

    const YAML: &str = "
        listeners: { front: { bind: 127.0.0.1:0, pool: back } }
        pools: { back: { backends: [ 127.0.0.1:9 ], connect: { attempts: 1 } } }";

    struct Stage {
        ctx: Arc<Context>,
        listener: Arc<ListenerLive>,
        gate: Gate,
        socket: TcpListener,
    }

    async fn stage(connector: Connector) -> Stage {
        let plan = crate::config::parse("test.yaml", YAML, &CATALOGUE, &|_| None).expect("valid");
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        Keeper::new(pool.clone(), Tools::alone(1)).start().await;
        let listener = Arc::new(ListenerLive::new(plan.listeners[0].clone(), 1));
        let routes = Table::new(&plan.listeners[0], |_| Some(pool.clone()), None).expect("a pool").into();
        let listening = Listening { live: listener.clone(), bound: Vec::new(), routes, leaving: false };
        let live = Live {
            listeners: [(listener.name.clone(), listening)].into(),
            pools: [(pool.name.clone(), pool)].into(),
            departed: Vec::new(),
            generation: 1,
            plan: plan.into(),
        };
        let ctx = Context {
            live: Arc::new(ArcSwap::from_pointee(live)),
            ledger: Arc::new(Ledger::new(1, AccessLogs::default())),
            connector,
            bench: Arc::new(Workbench::new(0, 1)),
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        arm_reset(&socket).expect("an option");
        Stage { ctx: Arc::new(ctx), listener, gate: Gate::new(100, Overflow::Refuse), socket }
    }

    impl Stage {
        /// A client and the task that serves it.
        async fn client(&self) -> (TcpStream, tokio::task::JoinHandle<()>) {
            let (client, accepted) = self.accepted().await;
            let entry = self.ctx.ledger.open(&accepted, self.ctx.bench.worker());
            (client, tokio::spawn(serve(self.ctx.clone(), Box::new(accepted), entry)))
        }

        /// A client, and what is known of it when it was let in.
        async fn accepted(&self) -> (TcpStream, Accepted) {
            let address = self.socket.local_addr().expect("bound");
            let (client, accepted) = tokio::join!(TcpStream::connect(address), self.socket.accept());
            let (stream, peer) = accepted.expect("a client");
            self.listener.cells.connections.inc();
            let (at, listener) = (std::time::Instant::now(), self.listener.clone());
            let who = Some(Peer::tcp(peer));
            let permit = Permit::take(&self.gate, &listener.entrance, who, at).await.expect("room");
            let local = Peer::tcp(address);
            let accepted = Accepted {
                local,
                stream: Stream::try_from(stream).expect("room in the runtime"),
                peer: Peer::tcp(peer),
                listener,
                permit,
                at,
                header_by: None,
            };
            (client.expect("connected"), accepted)
        }

        fn ends(&self) -> Vec<((Cause, Side, Phase), u64)> {
            self.listener.census().routes.into_iter().flat_map(|route| route.closed).collect()
        }
    }

    fn connector<F>(dial: impl Fn(Dial) -> F + Send + Sync + 'static) -> Connector
    where
        F: Future<Output = Result<Stream, ConnectError>> + Send + 'static,
    {
        Connector::new(dial)
    }

    async fn expect_reset(client: &mut TcpStream) {
        let read = tokio::time::timeout(Duration::from_secs(5), client.read(&mut [0; 1])).await.expect("in time");
        assert_eq!(read.expect_err("a cut stream never ends clean").kind(), std::io::ErrorKind::ConnectionReset);
    }

    /// The runtime's task adds about a hundred bytes to it and rounds up to a multiple of 128: this is 512, and a word more
    /// would be 640.
    #[tokio::test]
    async fn a_session_is_small() {
        let stage = stage(connector(|_| std::future::pending())).await;
        let accepted = stage.accepted().await.1;
        let entry = stage.ctx.ledger.open(&accepted, stage.ctx.bench.worker());
        let session = serve(stage.ctx.clone(), Box::new(accepted), entry);
        assert!(size_of_val(&session) <= 400, "{}", size_of_val(&session));
    }

    /// Glibc's allocator keeps blocks of up to 1032 bytes at hand for each thread; others take it twenty times as long.
    #[tokio::test]
    async fn what_a_session_is_set_up_in_is_small() {
        const AT_HAND: usize = 1032;
        let stage = stage(connector(|_| std::future::pending())).await;
        let accepted = stage.accepted().await.1;
        let entry = stage.ctx.ledger.open(&accepted, stage.ctx.bench.worker());
        let link = link(&stage.ctx, Box::new(accepted), &entry);
        assert!(size_of_val(&link) <= AT_HAND, "{}", size_of_val(&link));
        let (client, local, id) = (Peer::Unix, Peer::Unix, &"");
        let (unique_id, server_name, asked, alpn, ssl) = (None, None, None, None, None);
        let caller = Caller { client, local, id, unique_id, server_name, asked, speaks: false, alpn, ssl };
        let pool = stage.ctx.live.load().pools["back"].clone();
        let dial = upstream::dial(&pool, &stage.ctx.connector, &caller, |event| entry.heard(event));
        assert!(size_of_val(&dial) <= AT_HAND, "{}", size_of_val(&dial));
    }

    /// What is heard; the kernel may take its time until there is `something`.
    async fn heard(inbound: &mut Inbound, bench: &Workbench, something: bool) -> Result<bool, Failure> {
        for _ in 0..if something { 5000 } else { 0 } {
            match hear(inbound, bench) {
                Ok(false) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
                result => return result,
            }
        }
        hear(inbound, bench)
    }

    #[tokio::test]
    async fn what_a_client_has_said_is_read_before_its_backend_is_dialled() {
        let stage = stage(connector(|_| std::future::pending())).await;
        let early = vec![7; 100_000];
        for (said, read) in [(0, 0), (64, 64), (4096, 4096), (4097, 4096), (100_000, 4096)] {
            let (mut client, accepted) = stage.accepted().await;
            let mut inbound = intake::receive(accepted).await.expect("it needs no header");
            client.write_all(&early[..said]).await.expect("sent");
            assert_eq!(heard(&mut inbound, &stage.ctx.bench, said > 0).await, Ok(said > 0));
            assert_eq!(inbound.head, early[..read]);
            assert_eq!(hear(&mut inbound, &stage.ctx.bench), Ok(said > 0), "what is known is not asked again");
            assert_eq!(inbound.head.len(), read);
        }
    }

    #[tokio::test]
    async fn an_end_is_no_word_and_a_reset_is_heard_where_it_is_met() {
        let stage = stage(connector(|_| std::future::pending())).await;
        let reset = Err(Failure::ClientFailed(rustix::io::Errno::CONNRESET.raw_os_error()));
        for (aborts, expected) in [(false, Ok(false)), (true, reset)] {
            let (client, accepted) = stage.accepted().await;
            let mut inbound = intake::receive(accepted).await.expect("it needs no header");
            if aborts {
                arm_reset(&client).expect("an option");
            }
            drop(client);
            assert_eq!(heard(&mut inbound, &stage.ctx.bench, aborts).await, expected);
        }
    }

    #[tokio::test]
    async fn a_panic_ends_one_session_and_is_counted() {
        let stage = stage(connector(|_| async { panic!("a defect, injected by this test") })).await;
        let (mut client, served) = stage.client().await;
        assert!(served.await.expect_err("it panicked").is_panic());
        expect_reset(&mut client).await;
        assert_eq!(stage.ctx.ledger.panics(), 1);
        assert_eq!(stage.ends(), [((Cause::Internal, Side::Proxy, Phase::Connect), 1)]);
        assert_eq!(stage.listener.census().active, 0);
        let pool = stage.ctx.live.load().pools["back"].clone();
        assert_eq!(pool.snapshot().members[0].backend.active(), 0, "the place at the backend was given back");
    }

    #[tokio::test]
    async fn a_client_that_resets_while_a_backend_is_dialled_is_heard() {
        let stage = stage(connector(|_| std::future::pending())).await;
        let (mut client, served) = stage.client().await;
        client.write_all(b"early").await.expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
        arm_reset(&client).expect("an option");
        drop(client);
        tokio::time::timeout(Duration::from_secs(1), served).await.expect("heard at once").expect("no panic");
        assert_eq!(stage.ends(), [((Cause::ClientReset, Side::Client, Phase::Connect), 1)]);
    }

    #[tokio::test]
    async fn a_kill_is_heard_in_every_phase() {
        let stage = stage(connector(|_| std::future::pending())).await;
        let (mut client, served) = stage.client().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let id = stage.ctx.ledger.list(None, 1, |_| true)[0].id;
        assert!(stage.ctx.ledger.end(id, Cause::Killed));
        expect_reset(&mut client).await;
        served.await.expect("no panic");
        assert!(!stage.ctx.ledger.end(id, Cause::Killed), "gone");
        assert_eq!(stage.ends(), [((Cause::Killed, Side::Proxy, Phase::Connect), 1)]);
    }
}
