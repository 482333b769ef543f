//! Files of TLS: loaded with a configuration, watched while it is in force, and put in place when they have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::folders::Folders;
use crate::admin::{self, AdminTls};
use crate::config::Whereabouts;
use crate::config::plan::{CertificateFiles, ListenerTls, Plan, PoolTls};
use crate::drain::Stage;
use crate::listener::ListenerLive;
use crate::pool::Pool;
use crate::route::{Listening, Live};
use crate::tls::{Client, HandedSecrets, Server, Unusable};

/// Between looks at files of which nothing is told.
const POLL: Duration = Duration::from_secs(5);

/// What a configuration needs of TLS.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// By the name of their listener.
    pub(super) servers: BTreeMap<Arc<str>, Arc<Server>>,
    /// By the name of their pool.
    pub(super) clients: BTreeMap<Arc<str>, Arc<Client>>,
}

/// Loads what the listeners and pools of `plan` need, on a thread where that may take its time. Sessions of listeners that stay can
/// be resumed.
///
/// # Errors
/// What cannot be used, each with the key that names it.
pub(super) async fn load(plan: &Plan, live: &Live) -> Result<Secrets, Vec<(String, Unusable)>> {
    let wanted = plan.listeners.iter().filter_map(|listener| {
        let of = live.listeners.get(&listener.name);
        let own = of.map(|listening| listening.live.tls.secrets()).unwrap_or_default();
        Some((listener.name.clone(), listener.tls.clone()?, own))
    });
    let wanted: Vec<_> = wanted.collect();
    let pools: Vec<_> = plan.pools.iter().filter_map(|pool| Some((pool.name.clone(), pool.tls.clone()?))).collect();
    let load = move || {
        let (mut loaded, mut errors) = (Secrets::default(), Vec::new());
        for (name, settings, own) in wanted {
            match Server::load(&settings, &name, &own) {
                Ok(server) => drop(loaded.servers.insert(name, Arc::new(server))),
                Err(error) => errors.push((format!("listeners.{name}.tls"), error)),
            }
        }
        for (name, settings) in pools {
            match Client::load(&settings) {
                Ok(client) => drop(loaded.clients.insert(name, Arc::new(client))),
                Err(error) => errors.push((format!("pools.{name}.tls"), error)),
            }
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    };
    let stuck = |error: tokio::task::JoinError| vec![("tls".to_owned(), Unusable(error.to_string()))];
    tokio::task::spawn_blocking(load).await.map_err(stuck).flatten()
}

/// What tickets of the process's own are made with, by listener, for the process that takes over.
pub(super) fn ticket_secrets(live: &Live) -> BTreeMap<String, HandedSecrets> {
    let of = |listening: &Listening| listening.live.tls.server()?.secrets().hand_over(Instant::now());
    live.listeners.iter().filter_map(|(name, listening)| Some((name.to_string(), of(listening)?))).collect()
}

impl Secrets {
    /// Takes over what the process before has made tickets with.
    pub(super) fn take_over(&self, tickets: &BTreeMap<String, HandedSecrets>) {
        for (name, server) in &self.servers {
            if let Some(handed) = tickets.get(&**name) {
                server.secrets().take_over(handed, Instant::now());
            }
        }
    }
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
        // Hundreds of listeners may have one certificate.
        let files: BTreeSet<PathBuf> = sites.iter().flat_map(|site| site.files().cloned()).collect();
        let files: Vec<PathBuf> = files.into_iter().collect();
        let again = files.clone();
        folders.watch(|| (files, Whereabouts::default())).await;
        let now = stamps_by_file(again.clone()).await;
        let owners: BTreeSet<&str> = sites.iter().map(|site| &*site.owner).collect();
        known.retain(|owner: &String, _| owners.contains(&**owner));
        for site in sites {
            let seen: &mut Seen = known.entry(site.owner.clone()).or_default();
            if !seen.is_as(&site, &now) {
                look(site, seen, || Arc::ptr_eq(&state.live.load().plan, &live.plan)).await;
            }
        }
        tokio::select! {
            () = folders.changed() => {
                // A file that is new may still be written to.
                folders.watch(|| (again, Whereabouts::default())).await;
                folders.settle(live.plan.reload.debounce).await;
            }
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
    Pool(Box<PoolTls>),
}

/// What its files make.
#[derive(Clone)]
enum Made {
    Server(Arc<Server>),
    Client(Arc<Client>),
}

/// Where that is put.
enum Place {
    Listener(Arc<ListenerLive>),
    Admin(Arc<AdminTls>),
    Pool(Arc<Pool>),
}

/// What was seen of a site's files.
#[derive(Default)]
struct Seen {
    stamps: Option<Vec<Stamp>>,
    /// What was made of them. A reload that has read them earlier may have put that in force since.
    made: Option<Made>,
    /// Why they could not be used, as the log has it.
    complaint: Option<String>,
}

impl Seen {
    /// The stamps of the files that what is in force was made of; None if that must be made anew.
    fn believed(&self, in_force: Option<&Made>) -> Option<&[Stamp]> {
        let is_of_them = self.made.as_ref().zip(in_force).is_some_and(|(made, now)| made.is(now));
        self.stamps.as_deref().filter(|_| self.complaint.is_none() && is_of_them)
    }

    /// Whether the files of `site` are what they were, and in force.
    fn is_as(&self, site: &Site, now: &BTreeMap<PathBuf, Stamp>) -> bool {
        let stamps = self.believed(site.now().as_ref());
        stamps.is_some_and(|stamps| site.files().map(|file| now.get(file)).eq(stamps.iter().map(Some)))
    }
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
    let of_pool = |pool: &crate::config::plan::Pool| {
        Some(Site {
            owner: format!("pool/{}", pool.name),
            name: pool.name.clone(),
            settings: Settings::Pool(Box::new(pool.tls.clone()?)),
            place: Place::Pool(live.pools.get(&pool.name)?.clone()),
        })
    };
    let pools = live.plan.pools.iter().filter_map(of_pool);
    live.plan.listeners.iter().filter_map(of_listener).chain(of_admin).chain(pools).collect()
}

impl Site {
    fn files(&self) -> Box<dyn Iterator<Item = &PathBuf> + '_> {
        match &self.settings {
            Settings::Listener(settings) => Box::new(settings.files()),
            Settings::Endpoint(files) => Box::new(files.files().into_iter()),
            Settings::Pool(settings) => Box::new(settings.files()),
        }
    }

    fn now(&self) -> Option<Made> {
        match &self.place {
            Place::Listener(listener) => listener.tls.server().map(Made::Server),
            Place::Admin(admin) => admin.server().map(Made::Server),
            Place::Pool(pool) => pool.tls.client().map(Made::Client),
        }
    }

    fn put(&self, made: Made) {
        match (&self.place, made) {
            (Place::Listener(listener), Made::Server(server)) => listener.tls.put(Some(server)),
            (Place::Admin(admin), Made::Server(server)) => admin.put(server),
            (Place::Pool(pool), Made::Client(client)) => pool.tls.put(Some(client)),
            // Settings and place are made together, and fit.
            (Place::Listener(_) | Place::Admin(_), Made::Client(_)) | (Place::Pool(_), Made::Server(_)) => {}
        }
    }

    fn outdated(&self) {
        match &self.place {
            Place::Listener(listener) => listener.tls.outdated(),
            Place::Admin(admin) => admin.outdated(),
            Place::Pool(pool) => pool.tls.outdated(),
        }
    }
}

impl Settings {
    fn load(&self, name: &str, before: Option<&Made>) -> Result<Made, Unusable> {
        let own = || match before {
            Some(Made::Server(server)) => server.secrets().clone(),
            _ => Arc::default(),
        };
        match self {
            Self::Listener(settings) => Ok(Made::Server(Server::load(settings, name, &own())?.into())),
            Self::Endpoint(files) => Ok(Made::Server(Server::endpoint(files)?.into())),
            Self::Pool(settings) => Ok(Made::Client(Client::load(settings)?.into())),
        }
    }
}

impl Made {
    /// Whether it is this very one.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Server(one), Self::Server(other)) => Arc::ptr_eq(one, other),
            (Self::Client(one), Self::Client(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Server(one), Self::Server(other)) => one.is_like(other),
            (Self::Client(one), Self::Client(other)) => one.is_like(other),
            _ => false,
        }
    }

    fn warnings(&self) -> &[String] {
        match self {
            Self::Server(server) => server.warnings(),
            Self::Client(client) => client.warnings(),
        }
    }
}

/// Loads the files of `site` if they may have changed, or could not be used the last time, and puts them in place if
/// they can be used and still are the ones that are wanted.
async fn look(site: Site, seen: &mut Seen, is_wanted: impl Fn() -> bool) {
    let (files, settings, name) = (site.files().cloned().collect::<Vec<_>>(), site.settings.clone(), site.name.clone());
    let in_force = site.now();
    let before = seen.believed(in_force.as_ref()).map(<[Stamp]>::to_vec);
    let load = move || {
        let stamps = stamps(&files);
        if before.as_ref() == Some(&stamps) {
            return None;
        }
        Some((stamps, settings.load(&name, in_force.as_ref())))
    };
    let Ok(Some((stamps, loaded))) = tokio::task::spawn_blocking(load).await else { return };
    if !is_wanted() {
        return;
    }
    seen.stamps = Some(stamps);
    let owner = &site.owner;
    match loaded {
        Ok(made) => {
            let is_news = site.now().is_none_or(|now| !now.is_like(&made));
            // Before it is said, so that whoever reads of it finds it true.
            site.put(made.clone());
            seen.made = Some(made.clone());
            if is_news || seen.complaint.take().is_some() {
                tracing::info!(owner, "files of TLS have changed and are in use");
                made.warnings().iter().for_each(|warning| tracing::warn!(owner, warning, "files of TLS"));
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

/// Of each file, on a thread where that may take its time. If that fails there are none.
async fn stamps_by_file(files: Vec<PathBuf>) -> BTreeMap<PathBuf, Stamp> {
    let stamp = move || {
        let stamps = stamps(&files);
        files.into_iter().zip(stamps).collect()
    };
    tokio::task::spawn_blocking(stamp).await.unwrap_or_default()
}

/// Following links: what matters is the file at their end.
fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let of = fs::metadata(file).ok()?;
        Some((of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;
    use crate::balance::CATALOGUE;
    use crate::tls::fixture::pki::{Authority, Wish};

    /// A reload reads its files first, and has other things to wait for before it puts them in force.
    #[tokio::test]
    async fn what_a_reload_read_before_the_files_changed_does_not_stay() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("authority"));
        let save = || authority.issue(&Wish::names(["a.example"])).save(dir.path(), "a");
        let [cert, key] = save();
        let yaml = format!(
            "listeners: {{ l: {{ bind: '127.0.0.1:0', pool: p, tls: {{ certificates: {{ cert: '{}', key: '{}' }} }} }} }}\n\
             pools: {{ p: {{ backends: [] }} }}",
            cert.display(),
            key.display()
        );
        let listener = crate::config::parse("t.yaml", &yaml, &CATALOGUE, &|_| None).unwrap().listeners[0].clone();
        let settings = Box::new(listener.tls.clone().unwrap());
        let live = Arc::new(ListenerLive::new(listener, 1));
        let load = || Arc::new(Server::load(&settings, "l", &live.tls.secrets()).unwrap());
        let site = || Site {
            owner: "listener/l".into(),
            name: "l".into(),
            settings: Settings::Listener(settings.clone()),
            place: Place::Listener(live.clone()),
        };
        let mut seen = Seen::default();
        let old = load();
        live.tls.put(Some(old.clone()));
        look(site(), &mut seen, || true).await;
        save();
        look(site(), &mut seen, || true).await;
        let new = load();
        assert!(live.tls.server().unwrap().is_like(&new) && !old.is_like(&new));
        live.tls.put(Some(old));
        look(site(), &mut seen, || true).await;
        assert!(live.tls.server().unwrap().is_like(&new), "the files hold the new one");
    }

    #[tokio::test]
    async fn nothing_is_looked_at_again_until_its_files_have_changed_or_others_are_in_force() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("authority"));
        let save = || authority.issue(&Wish::names(["a.example"])).save(dir.path(), "a");
        let files = save();
        let yaml = format!(
            "listeners: {{ l: {{ bind: '127.0.0.1:0', pool: p, tls: {{ certificates: {{ cert: '{}', key: '{}' }} }} }} }}\n\
             pools: {{ p: {{ backends: [] }} }}",
            files[0].display(),
            files[1].display()
        );
        let listener = crate::config::parse("t.yaml", &yaml, &CATALOGUE, &|_| None).unwrap().listeners[0].clone();
        let settings = Box::new(listener.tls.clone().unwrap());
        let live = Arc::new(ListenerLive::new(listener, 1));
        let site = || Site {
            owner: "listener/l".into(),
            name: "l".into(),
            settings: Settings::Listener(settings.clone()),
            place: Place::Listener(live.clone()),
        };
        let now = || stamps_by_file(files.to_vec());
        let mut seen = Seen::default();
        assert!(!seen.is_as(&site(), &now().await), "it was never looked at");
        look(site(), &mut seen, || true).await;
        assert!(seen.is_as(&site(), &now().await));
        assert!(!seen.is_as(&site(), &BTreeMap::new()), "nothing is known of its files");
        let old = live.tls.server();
        live.tls.put(Some(Arc::new(Server::load(&settings, "l", &live.tls.secrets()).unwrap())));
        assert!(!seen.is_as(&site(), &now().await), "something else is in force");
        live.tls.put(old);
        assert!(seen.is_as(&site(), &now().await));
        std::fs::write(&files[0], "no certificate").unwrap();
        assert!(!seen.is_as(&site(), &now().await));
        look(site(), &mut seen, || true).await;
        assert!(!seen.is_as(&site(), &now().await), "what could not be used is tried again");
    }
}
