//! The way to a keeper that runs.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Answers;
use crate::backend::Backend;
use crate::config::plan;
use crate::pool::verdicts::Verdicts;

/// The way to a keeper that runs. When it is dropped the keeper ends.
#[derive(Debug, Clone)]
pub struct KeeperHandle(pub(super) mpsc::UnboundedSender<Command>);

#[derive(Debug)]
pub(super) enum Command {
    Follow(Box<plan::Pool>, Option<Arc<str>>, Answers, oneshot::Sender<Followed>),
    Export(oneshot::Sender<Verdicts>),
}

/// What has become of backends with a new configuration.
#[derive(Debug, Default)]
pub struct Followed {
    /// Those that are gone, or whose name stands for another address now: sessions they have go as `on_remove` says.
    pub removed: Vec<Arc<Backend>>,
}

impl KeeperHandle {
    /// Has the pool follow new settings, and publishes. `zone` is where this instance is.
    ///
    /// Backends are told apart by name: those that stay keep their history, and their health unless their address
    /// is another one. Host names that are new get the `answers` that were asked for ahead; those without one are
    /// asked for while this pool and all others go on.
    pub async fn follow(&self, settings: plan::Pool, zone: Option<Arc<str>>, answers: Answers) -> Followed {
        let (told, followed) = oneshot::channel();
        // A keeper ends only with its last handle, or with the process.
        let _ = self.0.send(Command::Follow(Box::new(settings), zone, answers, told));
        followed.await.unwrap_or_default()
    }

    /// What it knows of its backends now, for another process.
    pub async fn export(&self) -> Verdicts {
        let (told, exported) = oneshot::channel();
        let _ = self.0.send(Command::Export(told));
        exported.await.unwrap_or_default()
    }
}
