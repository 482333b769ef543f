//! Putting it together: start, serve, end.

mod activation;
mod assembly;
mod drain;
mod endpoints;
mod error;
mod folders;
mod foundation;
mod inheritance;
mod limits;
mod logging;
mod marks;
mod orders;
mod pools;
mod reload;
mod sandbox;
mod signals;
mod sockets;
mod systemd;
mod start;
mod tls;
mod upgrade;
mod watch;
mod watchdog;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::admin::{self, Attendance, Bidding, Origin};
use crate::config::Loaded;
use crate::config::plan::Sandbox;

use signals::{Signals, Standing};

pub use error::StartError;
pub use limits::raise_descriptor_limit;
pub use logging::Logging;
pub use upgrade::{HELPER, Program, start_on_request};

/// How a process that served came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Drained, as asked.
    Drained,
    /// A second signal cut the draining short.
    Forced,
}

/// What the life of the process is steered with, once everything runs.
struct Running {
    state: Arc<admin::State>,
    workers: Vec<worker::Handle>,
    acceptors: Acceptors,
    sockets: Arc<sockets::Sockets>,
    attendance: Arc<Attendance>,
    manager: Arc<systemd::Manager>,
    /// They stand for as long as the process lives.
    _walls: Option<sandbox::Walls>,
}

/// How this process came to be.
struct Birth {
    /// What starts the next one.
    starter: upgrade::Starter,
    /// The sandbox, if it is in one.
    walls: Option<sandbox::Walls>,
    /// CPUs that it may use.
    cpus: usize,
    manager: systemd::Manager,
    /// To the process that it is to replace.
    link: Option<std::os::fd::OwnedFd>,
    /// Sockets of the service manager.
    given: Vec<systemd::Given>,
}

/// What tells this process that it is no longer the one.
struct Succession {
    /// Told when another process has taken over.
    replaced: oneshot::Receiver<()>,
    /// What that process, or the one after it, wants of this one.
    biddings: mpsc::UnboundedReceiver<Bidding>,
}

/// A configuration to run, and where it came from.
#[derive(Debug)]
pub struct Configured {
    /// What it says.
    pub loaded: Loaded,
    /// Where to look for the next one.
    pub origin: Origin,
}

/// Counts accept loops that still run; a drain waits for them before it trusts a count of sessions.
#[derive(Debug, Clone, Default)]
struct Acceptors(Arc<AtomicUsize>);

/// One running accept loop.
#[derive(Debug)]
struct AcceptorGuard(Acceptors);

impl Acceptors {
    fn enter(&self) -> AcceptorGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        AcceptorGuard(self.clone())
    }

    fn running(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for AcceptorGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Birth {
    /// Takes what this process was given, and enters the sandbox. Up to here there is one thread; all others are inside.
    fn of_this_process(given: Vec<systemd::Given>, configured: &Configured) -> Result<Self, StartError> {
        let link = upgrade::inherited_link().map_err(StartError::Runtime)?;
        // These have to be asked from outside.
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        let manager = systemd::Manager::from_environment();
        let program = upgrade::Program::of_this_process().map_err(StartError::Runtime)?;
        let starter = match configured.loaded.plan.sandbox {
            Sandbox::Off => upgrade::Starter::here(program),
            Sandbox::On | Sandbox::Strict => upgrade::Starter::outside(&program).map_err(StartError::Runtime)?,
        };
        let walls = sandbox::enter(&configured.loaded).map_err(StartError::Sandbox)?;
        Ok(Self { starter, walls, cpus, manager, link, given })
    }
}

/// The control thread, which runs nothing yet.
pub struct Control {
    runtime: Runtime,
    standing: Standing,
}

impl Control {
    /// From now on SIGHUP, SIGUSR1 and SIGUSR2 wait until there is somebody to act on them. SIGTERM and SIGINT go on to end
    /// the process at once: nothing is to be drained, and a file that is read may never come to its end.
    ///
    /// # Errors
    /// Descriptors have run out, or signals are not to be had.
    pub fn new() -> Result<Self, StartError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
        let standing = {
            let _inside = runtime.enter();
            Standing::install().map_err(StartError::Runtime)?
        };
        Ok(Self { runtime, standing })
    }

    /// Runs a proxy until a signal ends it. Blocks; the calling thread becomes the control thread.
    ///
    /// # Errors
    /// Something could not be bound, opened or started; nothing is left running.
    pub fn run(
        self,
        configured: Configured,
        extra: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Ended, StartError> {
        let given = systemd::given_sockets().map_err(StartError::Given)?;
        let birth = Birth::of_this_process(given, &configured)?;
        let logging = Arc::new(Logging::init(&configured.loaded.plan.log).map_err(StartError::Runtime)?);
        reload::warn_of(&configured.loaded);
        let ended = self.runtime.block_on(async {
            // Before anything is bound, so that no signal meets the default action once clients are here.
            let mut signals = Signals::install(self.standing).map_err(StartError::Runtime)?;
            let (running, succession) = start::start(configured, logging, birth).await?;
            tokio::spawn(extra);
            Ok(drain::live_and_drain(running, succession, &mut signals).await)
        });
        // A resolver thread that hangs must not hold up the end.
        self.runtime.shutdown_background();
        ended
    }
}
