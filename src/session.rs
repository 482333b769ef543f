//! The story of a connection, top to bottom, one verb a line.

use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::connect::Connector;
use crate::ledger::{Entry, Failure, Ledger, Outcome};
use crate::listener::Accepted;
use crate::net::unless_failed;
use crate::relay::{self, Ends, Meter, Workbench};
use crate::route::Live;
use crate::upstream::{self, Dialed};

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

/// Serves one client from accept to the one end of its session.
pub async fn serve(ctx: Arc<Context>, accepted: Accepted) {
    let entry = ctx.ledger.open(&accepted, ctx.bench.worker());
    let outcome = {
        let conversation = pin!(converse(&ctx, accepted, &entry));
        entry.unless_stopped(conversation).await
    }; // here both sockets are closed, so that whoever reads of the end finds it true
    entry.close(outcome);
}

async fn converse(ctx: &Context, accepted: Accepted, entry: &Entry) -> Result<Outcome, Failure> {
    let Accepted { stream: client, permit: _held, .. } = accepted;
    // Boxed, so that an hour-long relay does not carry the room that dialling took.
    let dialed = Box::pin(reach(ctx, entry, &client)).await?;
    let Dialed { stream: backend, lease, .. } = dialed;
    let record = entry.record();
    let (listener, pool, route) = (&record.listener, entry.pool().ok_or(Failure::NoRoute)?, record.cells());
    let meter = Meter {
        tally: &record.tally,
        route: route.bytes.of(ctx.bench.worker()),
        backend: lease.backend(),
        pool: &pool,
        bench: &ctx.bench,
    };
    let end = relay::run(Ends { client, backend }, listener.relay(), &meter, &ctx.bench).await;
    Ok(Outcome::relayed(end, record.phase()))
}

/// Routes and dials, and gives up at once if the client's socket fails meanwhile.
async fn reach(ctx: &Context, entry: &Entry, client: &crate::net::Stream) -> Result<Dialed, Failure> {
    let live = ctx.live.load_full(); // one configuration for the whole set-up, and not longer
    let pool = live.route(&entry.record().listener).ok_or(Failure::NoRoute)?;
    entry.routed(&pool);
    let dialing = upstream::dial(&pool, &ctx.connector, |attempt| entry.attempted(attempt));
    let dialed = unless_failed(client, dialing).await.map_err(Failure::ClientFailed)??;
    entry.established(dialed.lease.backend(), dialed.target.clone(), dialed.stream.local());
    Ok(dialed)
}
