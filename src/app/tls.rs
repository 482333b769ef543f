//! Files of TLS: loaded with a configuration, watched while it is in force, and put in place when they have changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::folders::Folders;
use crate::admin::{self, AdminTls};
use crate::config::plan::{CertificateFiles, ListenerTls, Plan};
use crate::drain::Stage;
use crate::listener::ListenerLive;
use crate::route::Live;
use crate::tls::{OwnSecrets, Server, Unusable};

/// Between looks at files of which nothing is told.
const POLL: Duration = Duration::from_secs(5);

/// Servers by the name of their listener.
pub(super) type Servers = BTreeMap<Arc<str>, Arc<Server>>;

/// Loads what the listeners of `plan` need, on a thread where that may take its time. Sessions of listeners that stay can
/// be resumed.
///
/// # Errors
/// What cannot be used, each with the key that names it.
pub(super) async fn load(plan: &Plan, live: &Live) -> Result<Servers, Vec<(String, Unusable)>> {
    let wanted = plan.listeners.iter().filter_map(|listener| {
        let of = live.listeners.get(&listener.name);
        let own = of.map(|listening| listening.live.tls.secrets()).unwrap_or_default();
        Some((listener.name.clone(), listener.tls.clone()?, own))
    });
    let wanted: Vec<_> = wanted.collect();
    let load = move || {
        let (mut servers, mut errors) = (Servers::new(), Vec::new());
        for (name, settings, own) in wanted {
            match Server::load(&settings, &name, &own) {
                Ok(server) => drop(servers.insert(name, Arc::new(server))),
                Err(error) => errors.push((format!("listeners.{name}.tls"), error)),
            }
        }
        if errors.is_empty() { Ok(servers) } else { Err(errors) }
    };
    let stuck = |error: tokio::task::JoinError| vec![("tls".to_owned(), Unusable(error.to_string()))];
    tokio::task::spawn_blocking(load).await.map_err(stuck).flatten()
}

/// Puts files in place that have changed, until other files are another process's concern.
pub(super) async fn watch_until_left(state: Arc<admin::State>) {
    tokio::select! {
        () = watch(state.clone()) => {}
        () = state.life.reached(Stage::Leaving) => {}
    }
}

async fn watch(state: Arc<admin::State>) {
    let mut folders = Folders::new(|_| false);
    let mut known = BTreeMap::new();
    loop {
        let live = state.live.load_full();
        let sites = sites(&live, &state.admin_tls);
        let files: Vec<PathBuf> = sites.iter().flat_map(|site| site.files().cloned()).collect();
        folders.watch(|| files).await;
        known.retain(|owner, _| sites.iter().any(|site| site.owner == *owner));
        for site in sites {
            let seen = known.entry(site.owner.clone()).or_default();
            look(site, seen, || Arc::ptr_eq(&state.live.load().plan, &live.plan)).await;
        }
        tokio::select! {
            () = folders.changed() => folders.settle(live.plan.reload.debounce).await,
            () = sleep(POLL) => {}
        }
    }
}

/// Who has files.
struct Site {
    /// As metrics name it.
    owner: String,
    /// Its listener's name, or nothing.
    name: Arc<str>,
    settings: Settings,
    place: Place,
}

#[derive(Clone)]
enum Settings {
    Listener(Box<ListenerTls>),
    Endpoint(CertificateFiles),
}

/// Where a server is put.
enum Place {
    Listener(Arc<ListenerLive>),
    Admin(Arc<AdminTls>),
}

/// What was seen of a site's files.
#[derive(Default)]
struct Seen {
    stamps: Option<Vec<Stamp>>,
    /// Why they could not be used, as the log has it.
    complaint: Option<String>,
}

/// Tells one content of a file from another, without reading it.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

fn sites(live: &Live, admin: &Arc<AdminTls>) -> Vec<Site> {
    let of_listener = |listener: &crate::config::plan::Listener| {
        let (settings, listening) = (listener.tls.clone()?, live.listeners.get(&listener.name)?);
        Some(Site {
            owner: format!("listener/{}", listener.name),
            name: listener.name.clone(),
            settings: Settings::Listener(Box::new(settings)),
            place: Place::Listener(listening.live.clone()),
        })
    };
    let of_admin = live.plan.admin.as_ref().and_then(|admin| admin.tls.clone()).map(|files| Site {
        owner: "admin".into(),
        name: Arc::default(),
        settings: Settings::Endpoint(files),
        place: Place::Admin(admin.clone()),
    });
    live.plan.listeners.iter().filter_map(of_listener).chain(of_admin).collect()
}

impl Site {
    fn files(&self) -> Box<dyn Iterator<Item = &PathBuf> + '_> {
        match &self.settings {
            Settings::Listener(settings) => Box::new(settings.files()),
            Settings::Endpoint(files) => Box::new(files.files().into_iter()),
        }
    }

    fn now(&self) -> Option<Arc<Server>> {
        match &self.place {
            Place::Listener(listener) => listener.tls.server(),
            Place::Admin(admin) => admin.server(),
        }
    }

    fn put(&self, server: Arc<Server>) {
        match &self.place {
            Place::Listener(listener) => listener.tls.put(Some(server)),
            Place::Admin(admin) => admin.put(server),
        }
    }

    fn outdated(&self) {
        match &self.place {
            Place::Listener(listener) => listener.tls.outdated(),
            Place::Admin(admin) => admin.outdated(),
        }
    }
}

impl Settings {
    fn load(&self, name: &str, own: &Arc<OwnSecrets>) -> Result<Server, Unusable> {
        match self {
            Self::Listener(settings) => Server::load(settings, name, own),
            Self::Endpoint(files) => Server::endpoint(files),
        }
    }
}

/// Loads the files of `site` if they may have changed, or could not be used the last time, and puts them in place if
/// they can be used and still are the ones that are wanted.
async fn look(site: Site, seen: &mut Seen, is_wanted: impl Fn() -> bool) {
    let (files, settings, name) = (site.files().cloned().collect::<Vec<_>>(), site.settings.clone(), site.name.clone());
    let own = site.now().map(|server| server.secrets().clone()).unwrap_or_default();
    let before = seen.stamps.clone().filter(|_| seen.complaint.is_none());
    let load = move || {
        let stamps = stamps(&files);
        if before.as_ref() == Some(&stamps) {
            return None;
        }
        Some((stamps, settings.load(&name, &own)))
    };
    let Ok(Some((stamps, loaded))) = tokio::task::spawn_blocking(load).await else { return };
    if !is_wanted() {
        return;
    }
    seen.stamps = Some(stamps);
    let owner = &site.owner;
    match loaded {
        Ok(server) => {
            let server = Arc::new(server);
            let is_news = site.now().is_none_or(|now| !now.is_like(&server));
            // Before it is said, so that whoever reads of it finds it true.
            site.put(server.clone());
            if is_news || seen.complaint.take().is_some() {
                tracing::info!(owner, "files of TLS have changed and are in use");
                server.warnings().iter().for_each(|warning| tracing::warn!(owner, warning, "files of TLS"));
            }
            seen.complaint = None;
        }
        Err(Unusable(error)) => {
            site.outdated();
            if seen.complaint.as_ref() != Some(&error) {
                tracing::warn!(owner, error, "files of TLS have changed and cannot be used; what they held before is");
                seen.complaint = Some(error);
            }
        }
    }
}

/// Following links: what matters is the file at their end.
fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let of = fs::metadata(file).ok()?;
        Some((of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()))
    };
    files.iter().map(stamp).collect()
}
