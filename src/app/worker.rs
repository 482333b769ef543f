//! A data thread: one runtime, its own sockets, its own tools.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::AcceptorGuard;
use crate::ledger;
use crate::listener::Acceptor;
use crate::net::BoundSocket;
use crate::session::{self, Context};

/// What one worker is started with.
pub(super) struct Job {
    pub(super) ctx: Arc<Context>,
    /// Sockets to accept from, as they come.
    pub(super) arrivals: mpsc::UnboundedReceiver<Arrival>,
    pub(super) pin: bool,
}

/// A listening socket for one worker.
pub(super) struct Arrival {
    pub(super) socket: BoundSocket,
    pub(super) acceptor: Acceptor,
    /// Says that it is being served, from before it is.
    pub(super) running: AcceptorGuard,
}

/// A running worker. Dropping it ends the worker and resets whatever sessions it still has.
pub(super) struct Handle {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Tells the worker to end, without waiting for it.
    pub(super) fn stop(&mut self) {
        self.stop.take();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was logged by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Builds a worker's runtime. Apart from starting it, so that the admin endpoint can watch it.
fn runtime() -> io::Result<Runtime> {
    /// Tasks that run between looks at the sockets. The default of 61 turns of bulk streams would keep
    /// a small message waiting for some milliseconds; a look costs less than a microsecond.
    const TASKS_PER_LOOK: u32 = 13;
    tokio::runtime::Builder::new_current_thread().enable_all().event_interval(TASKS_PER_LOOK).build()
}

/// Runtimes that no worker has yet. They may be given up in the middle of asynchronous code, where waiting for one to end
/// is not allowed; there is nothing in them to wait for.
pub(super) struct Idle(Vec<Runtime>);

impl Idle {
    /// So many.
    pub(super) fn new(workers: usize) -> io::Result<Self> {
        let mut idle = Self(Vec::with_capacity(workers));
        for _ in 0..workers {
            idle.0.push(runtime()?);
        }
        Ok(idle)
    }

    /// The way into each.
    pub(super) fn handles(&self) -> Vec<tokio::runtime::Handle> {
        self.0.iter().map(|runtime| runtime.handle().clone()).collect()
    }

    /// Takes them, in the workers' order.
    pub(super) fn take(mut self) -> Vec<Runtime> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Runtime::shutdown_background);
    }
}

/// Starts the worker's thread.
pub(super) fn spawn(runtime: Runtime, job: Job) -> io::Result<Handle> {
    let (stop, stopped) = oneshot::channel();
    let index = job.ctx.bench.worker();
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        if job.pin {
            pin(index);
        }
        runtime.block_on(work(job, stopped));
    })?;
    Ok(Handle { stop: Some(stop), thread: Some(thread) })
}

async fn work(mut job: Job, mut stopped: oneshot::Receiver<()>) {
    tokio::spawn(ledger::rounds(job.ctx.ledger.clone(), job.ctx.bench.clone()));
    let bench = job.ctx.bench.clone();
    tokio::spawn(async move { bench.keep_looking().await });
    loop {
        tokio::select! {
            // Resolves when the handle is dropped too.
            _ = &mut stopped => return,
            Some(arrival) = job.arrivals.recv() => drop(tokio::spawn(accept(job.ctx.clone(), arrival))),
        }
    }
}

/// Accepts from one socket until it is closed.
async fn accept(ctx: Arc<Context>, arrival: Arrival) {
    let Arrival { socket, acceptor, running } = arrival;
    let _running = running;
    let name = acceptor.listener().name.clone();
    let serve = |accepted| {
        // Not in the task: until that has its first turn nobody would know of the session.
        let entry = ctx.ledger.open(&accepted, ctx.bench.worker());
        tokio::spawn(session::serve(ctx.clone(), Box::new(accepted), entry));
        // Its first bytes and the answer of its backend are likely to be next.
        ctx.bench.work();
    };
    if let Err(error) = acceptor.run(socket, serve).await {
        tracing::error!(listener = %name, %error, "this worker cannot accept");
    }
}

/// Keeps this thread on the `index`-th of the CPUs that the process may use.
fn pin(index: usize) {
    let allowed = match sched_getaffinity(None) {
        Ok(allowed) => allowed,
        Err(error) => return tracing::warn!(%error, "cannot pin a worker"),
    };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let mut wanted = CpuSet::new();
    wanted.set(cpus[index % cpus.len().max(1)]);
    if let Err(error) = sched_setaffinity(None, &wanted) {
        tracing::warn!(%error, "cannot pin a worker");
    }
}
