//! The process: workers, limits, endpoints, logs.

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::address::Listen;
use super::super::error::Place;
use super::super::hint::{hint, quote};
use super::super::plan::{
    AccessLog, AccessSink, Admin, AdminAddress, BindAddress, Log, LogFormat, MetricsEndpoint, Overflow, Protect,
    Sandbox, Shutdown, Upgrade, Workers,
};
use super::super::regular::read_token;
use super::super::scalar;
use super::super::section::{Found, Section, word};
use super::super::tree::Node;
use super::{Decoder, PoolNames, off_or_duration, size, some_rate};

impl<'a> Decoder<'a, '_> {
    pub(super) fn workers(&mut self) -> Workers {
        let workers = self.root.section("workers");
        let threads = workers.optional("threads", size).and_then(NonZeroUsize::new);
        let busy_poll = workers.given("busy_poll", off_or_duration).flatten();
        if let (Some(threads), Some(_), Some(found)) = (threads, busy_poll, workers.find("threads")) {
            self.warn_crowded(threads, &found);
        }
        Workers { threads, pin: workers.value("pin", scalar::boolean), busy_poll }
    }

    /// Workers that look for packets while others wait for their CPU slow them down.
    fn warn_crowded(&mut self, threads: NonZeroUsize, found: &Found<'_>) {
        let Some(cpus) = std::thread::available_parallelism().ok().filter(|cpus| threads > *cpus) else { return };
        let message = format!(
            "with `busy_poll` more workers than CPUs take time from each other, and this process may use {cpus} here: \
             write `auto`"
        );
        self.report.warn(found.at, &found.path, message);
    }

    pub(super) fn max_connections(&self) -> Option<usize> {
        self.root.optional("max_connections", size)
    }

    pub(super) fn overflow(&self) -> Overflow {
        let words = [("refuse", Overflow::Refuse), ("wait", Overflow::Wait)];
        self.root.read("overflow", word(&words)).unwrap_or(Overflow::Refuse)
    }

    pub(super) fn max_rate(&self) -> Option<NonZeroU64> {
        self.root.given("max_rate", some_rate)
    }

    pub(super) fn shutdown(&self) -> Shutdown {
        let shutdown = self.root.section("shutdown");
        Shutdown { delay: shutdown.value("delay", scalar::duration), grace: shutdown.value("grace", scalar::duration) }
    }

    pub(super) fn upgrade(&self) -> Upgrade {
        let upgrade = self.root.section("upgrade");
        Upgrade { grace: upgrade.value("grace", off_or_duration), max_old: upgrade.value("max_old", size) }
    }

    pub(super) fn sandbox(&self) -> Sandbox {
        let words = [("off", Sandbox::Off), ("on", Sandbox::On), ("strict", Sandbox::Strict)];
        self.root.read("sandbox", word(&words)).unwrap_or_default()
    }

    pub(super) fn admin(&mut self) -> Option<Admin> {
        self.root.find("admin")?;
        let admin = self.root.section("admin");
        self.require(&admin, "listen");
        let found = admin.find("listen")?;
        let listen = self.admin_address(&found)?;
        let words = [("writes", Protect::Writes), ("all", Protect::All)];
        let protect = admin.read("protect", word(&words)).unwrap_or(Protect::Writes);
        let token_file =
            admin.find("token_file").and_then(|found| self.secret(&found, |path| read_token(path).map(drop)));
        self.check_token(&admin, &listen, protect);
        let tls = admin.find("tls").map(|_| admin.section("tls"));
        let tls = tls.and_then(|section| self.certificate(&section, None));
        Some(Admin { listen, token_file, protect, tls })
    }

    fn admin_address(&mut self, found: &Found<'a>) -> Option<AdminAddress> {
        match scalar::endpoint(found.node).ok()? {
            Listen::Ip(address, _) => {
                self.bound.claim(&BindAddress::Ip(address), found.node.at, &found.path, self.report);
                Some(AdminAddress::Ip(address))
            }
            Listen::Unix(path) => {
                let path = self.unix_path(found.node.at, &found.path, &path);
                self.bound.claim(&BindAddress::Unix(path.clone(), None), found.node.at, &found.path, self.report);
                Some(AdminAddress::Unix(path))
            }
        }
    }

    /// Without a token, who may do what depends on who can reach the endpoint.
    fn check_token(&mut self, admin: &Section<'a>, listen: &AdminAddress, protect: Protect) {
        if admin.find("token_file").is_some() {
            return;
        }
        let near = match listen {
            AdminAddress::Ip(address) => address.ip().is_loopback(),
            AdminAddress::Unix(_) => true,
        };
        if protect == Protect::All {
            let at = admin.find("protect").map_or(admin.at, |found| found.node.at);
            self.report.error(at, "admin.protect", "`all` needs a token: name its file in `admin.token_file`");
        } else if !near {
            let message = "nobody may change anything here without a token: name its file in `admin.token_file`";
            self.report.warn(admin.at, "admin", message);
        }
    }

    pub(super) fn metrics(&mut self) -> Option<MetricsEndpoint> {
        self.root.find("metrics")?;
        let metrics = self.root.section("metrics");
        let listen = metrics.find("listen").and_then(|found| {
            let Ok(Listen::Ip(address, _)) = scalar::endpoint(found.node) else {
                return None;
            };
            self.bound.claim(&BindAddress::Ip(address), found.node.at, &found.path, self.report);
            Some(address)
        });
        Some(MetricsEndpoint { listen, backend_histograms: metrics.value("backend_histograms", scalar::boolean) })
    }

    pub(super) fn ready_when(&mut self, pools: &PoolNames) -> Vec<Arc<str>> {
        let Some(found) = self.root.section("ready_when").find("pools") else {
            return Vec::new();
        };
        let items = found.node.items_at(&found.path);
        items.filter_map(|(node, path)| self.pool_name(node, &path, pools)).collect()
    }

    /// A name of one of `pools`, or an error.
    pub(super) fn pool_name(&mut self, node: &Node, path: &str, pools: &PoolNames) -> Option<Arc<str>> {
        let name = scalar::text(node, "a name").ok()?;
        let pool = pools.get(name);
        if pool.is_none() && self.complete {
            let hint = hint(name, pools.iter().map(|pool| &**pool));
            self.report.error(node.at, path, format!("there is no pool {}{hint}", quote(name)));
        }
        pool.cloned()
    }

    pub(super) fn log(&mut self) -> Log {
        let log = self.root.section("log");
        let words = [("json", LogFormat::Json), ("text", LogFormat::Text)];
        Log {
            level: log.value("level", scalar::filter),
            format: log.read("format", word(&words)).unwrap_or(LogFormat::Json),
            access: self.access(&log, None),
        }
    }

    /// The access log that `log` describes; what it leaves out is taken from `base`, or else from the table.
    pub(super) fn access(&mut self, log: &Section<'a>, base: Option<&AccessLog>) -> AccessLog {
        let access = log.section("access");
        let when = |node: &Node| Ok::<_, ()>(When::of(node));
        let mut whole = base.cloned().unwrap_or_else(|| {
            let when = access.read("when", when).unwrap_or_default();
            AccessLog {
                to: AccessSink::Stdout,
                at_start: when.start,
                at_end: when.end,
                interval: when.interval,
                sample: access.value("sample", scalar::share),
                skip_empty: false,
            }
        });
        if log.is_off("access") {
            return AccessLog { to: AccessSink::Off, ..whole };
        }
        if let Some(When { start, end, interval }) = access.given("when", when) {
            (whole.at_start, whole.at_end, whole.interval) = (start, end, interval);
        }
        whole.to = access.find("to").and_then(|found| self.access_sink(&found)).unwrap_or(whole.to);
        whole.sample = access.given("sample", scalar::share).unwrap_or(whole.sample);
        whole.skip_empty = access.given("skip", skips_empty).unwrap_or(whole.skip_empty);
        whole
    }

    fn access_sink(&mut self, found: &Found<'a>) -> Option<AccessSink> {
        let text = scalar::text(found.node, "a path").ok()?;
        match text {
            "stdout" => return Some(AccessSink::Stdout),
            "stderr" => return Some(AccessSink::Stderr),
            "off" => return Some(AccessSink::Off),
            _ => {}
        }
        let slip = hint(text, ["stdout", "stderr", "off"].into_iter());
        if !slip.is_empty() {
            let message = format!("`{text}` is not stdout, stderr or off{slip}; a file of that name is `./{text}`");
            self.report.error(found.node.at, &found.path, message);
        }
        Some(AccessSink::File(self.report.resolve(found.node.at, text)))
    }

    /// Where overrides are kept. Only its folder must be there: the file comes with the first override.
    pub(super) fn state_file(&mut self) -> Option<PathBuf> {
        let found = self.root.find("state_file")?;
        let file = self.report.resolve(found.node.at, found.node.text()?);
        let whole = std::path::absolute(&file).unwrap_or_else(|_| file.clone());
        if let Some(folder) = whole.parent().filter(|_| self.report.is_within_reach()) {
            let shown = folder.display();
            let message = match std::fs::metadata(folder) {
                Ok(there) if there.is_dir() => return Some(file),
                Err(error) if error.kind() != io::ErrorKind::NotFound => format!("cannot look at {shown}: {error}"),
                _ => format!("there is no folder {shown}: make it, since what operators say is kept there"),
            };
            self.report.error(found.node.at, &found.path, message);
        }
        Some(file)
    }

    /// A file that holds a secret, which `read` must find to be good now.
    pub(super) fn secret(&mut self, found: &Found<'a>, read: impl Fn(&Path) -> io::Result<()>) -> Option<PathBuf> {
        let path = self.report.resolve(found.node.at, scalar::text(found.node, "a path").ok()?);
        if self.report.is_within_reach()
            && let Err(error) = read(&path)
        {
            self.report.error(found.node.at, &found.path, format!("cannot read {}: {error}", path.display()));
        }
        Some(path)
    }

    /// A unix socket's path, resolved and short enough for the kernel.
    pub(super) fn unix_path(&mut self, at: Place, path: &str, socket: &str) -> PathBuf {
        const LONGEST: usize = super::super::address::LONGEST_UNIX_PATH;
        let resolved = self.report.resolve(at, socket);
        let length = resolved.as_os_str().len();
        if length > LONGEST {
            let message = format!("the path of a unix socket may be {LONGEST} bytes long, this one has {length}");
            self.report.error(at, path, message);
        }
        resolved
    }
}

/// `when`, taken apart.
#[derive(Default)]
struct When {
    start: bool,
    end: bool,
    interval: Option<Duration>,
}

impl When {
    fn of(node: &Node) -> Self {
        let mut when = Self::default();
        for item in node.items() {
            match item.text() {
                Some("start") => when.start = true,
                Some("end") => when.end = true,
                _ => when.interval = scalar::interval(item).ok().or(when.interval),
            }
        }
        when
    }
}

fn skips_empty(node: &Node) -> Result<bool, ()> {
    Ok(node.items().iter().any(|item| item.text() == Some("empty")))
}
