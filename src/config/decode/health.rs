//! `health`: how a pool finds out which of its backends are usable.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::check::chosen;
use super::super::keys::{self, HEALTH};
use super::super::plan::{
    Backend, BackendAddress, Health, Http, Login, OnChange, Passive, Pattern, Probe, ProbeAt, Role, Step,
};
use super::super::regular::read_regular;
use super::super::scalar;
use super::super::section::{Section, word};
use super::super::tree::Node;
use super::{Decoder, off_or_duration, size, small};

impl<'a> Decoder<'a, '_> {
    /// `health` of a pool; absent and `off` are the same.
    pub(super) fn health(&mut self, pool: &Section<'a>, backends: &[Backend], single_active: bool) -> Health {
        let section = match pool.is_off("health") {
            true => Section::new(HEALTH, &pool.path, pool.at),
            false => pool.section("health"),
        };
        let health = Health {
            probe: self.probe(&section),
            interval: section.value("interval", scalar::duration),
            fast_interval: section.value("fast_interval", scalar::duration),
            timeout: section.value("timeout", scalar::duration),
            rise: section.value("rise", small),
            fall: section.value("fall", small),
            jitter: section.value("jitter", scalar::share),
            at: self.probe_at(&section),
            tls: section.value("tls", scalar::boolean),
            start_up: section.read("start", word(&[("up", true), ("down", false)])).unwrap_or(true),
            concurrency: section.value("concurrency", size),
            on_down: self.on_leaving(&section, "on_down", single_active),
            fail_open_below: section.value("fail_open_below", scalar::share),
            passive: self.passive(&section, backends),
        };
        if let Some(found) = pool.find("health").filter(|found| found.node.entries().is_some())
            && health.probe.is_none()
            && health.passive.is_none()
        {
            let message = "nothing judges the backends: say what to ask them with `probe`, or `passive: {}`";
            self.report.warn(found.at, &found.path, message);
        }
        health
    }

    fn probe_at(&mut self, section: &Section<'a>) -> ProbeAt {
        let port = section.given("port", small).and_then(|port| u16::try_from(port).ok());
        let Some(found) = section.find("address") else { return port.map_or(ProbeAt::Backend, ProbeAt::Port) };
        if port.is_some() {
            let message = "`address` says the port already: remove `port`, or this";
            self.report.error(found.at, &found.path, message);
        }
        match self.target(found.node, &found.path) {
            Some(BackendAddress::Host(..)) => {
                let message = "a host name is not looked up for probes: write its IP address";
                self.report.error(found.node.at, &found.path, message);
                ProbeAt::Backend
            }
            target => target.map_or(ProbeAt::Backend, ProbeAt::Address),
        }
    }

    /// `on_down` or `on_failback`. With `single_active` sessions that stayed where they were would keep the backend
    /// that is to have them from being used.
    pub(super) fn on_leaving(&mut self, section: &Section<'a>, name: &str, single_active: bool) -> OnChange {
        let how = on_change(section, name);
        match section.find(name) {
            None if single_active => OnChange::Reset,
            Some(found) if single_active && how == OnChange::Keep => {
                let message = "`keep` and `single_active` exclude each other: sessions that stay on the backend they \
                               have keep the next one from being used; write `reset`, or `{ drain: 30s }`";
                self.report.error(found.node.at, &found.path, message);
                how
            }
            _ => how,
        }
    }

    fn passive(&mut self, section: &Section<'a>, backends: &[Backend]) -> Option<Passive> {
        let found = section.find("passive").filter(|_| !section.is_off("passive"))?;
        let passive = section.section("passive");
        let max_ejected = passive.value("max_ejected", scalar::share);
        if !backends.is_empty() && (max_ejected * backends.len() as f64) < 1.0 {
            let (at, path) =
                passive.find("max_ejected").map_or((found.at, found.path), |found| (found.node.at, found.path));
            let message = format!(
                "nothing will ever be ejected: {}% of {} backends is less than one",
                max_ejected * 100.0,
                backends.len()
            );
            self.report.warn(at, &path, message);
        }
        Some(Passive {
            failures: passive.value("failures", small),
            rate: passive.value("rate", scalar::share),
            min_volume: passive.value("min_volume", small),
            eject_for: passive.value("eject_for", scalar::duration),
            max_eject_for: self.max_eject_for(&passive),
            max_ejected,
            first_byte_within: passive.value("first_byte_within", off_or_duration),
        })
    }

    fn max_eject_for(&mut self, passive: &Section<'a>) -> std::time::Duration {
        let (first, most) =
            (passive.value("eject_for", scalar::duration), passive.value("max_eject_for", scalar::duration));
        if first > most {
            let found = passive.find("eject_for").or_else(|| passive.find("max_eject_for"));
            let (at, path) = found.map_or((passive.at, passive.path.clone()), |found| (found.node.at, found.path));
            let message = "`eject_for` is longer than `max_eject_for`";
            self.report.error(at, &path, message);
        }
        most
    }

    /// The probe, if there is one and it is sound; what is wrong with it is reported.
    fn probe(&mut self, section: &Section<'a>) -> Option<Probe> {
        let found = section.find("probe").filter(|_| !section.is_off("probe"))?;
        let (name, _, value) = chosen(found.node)?;
        let path = format!("{}.{name}", found.path);
        let parameters = || {
            let keys = keys::probe_keys(name).unwrap_or_default();
            let section = Section::new(keys, &path, found.node.at);
            value.into_iter().fold(section, |section, value| section.over(value, &path))
        };
        Some(match name {
            "tcp" => Probe::Tcp,
            "tls" => Probe::Tls,
            "script" => Probe::Script(self.script(value?, &path)?),
            "http" => Probe::Http(Arc::new(http(&parameters()))),
            "grpc" => Probe::Grpc(parameters().given("service", shared_text)),
            "postgres" => Probe::Postgres(Arc::new(self.login(&parameters(), true))),
            "mysql" => Probe::Mysql(Arc::new(self.login(&parameters(), true))),
            "redis" => Probe::Redis(Arc::new(self.login(&parameters(), false))),
            _ => return None,
        })
    }

    fn script(&mut self, node: &'a Node, path: &str) -> Option<Arc<[Step]>> {
        let items = node.items_at(path);
        let mut steps = Vec::new();
        for (item, path) in items {
            let section = Section::new(keys::STEP, &path, item.at).over(item, &path);
            let names: Vec<&str> =
                keys::STEP.iter().map(|key| key.name).filter(|name| section.find(name).is_some()).collect();
            if names.len() != 1 && item.entries().is_some() {
                let message = match names.is_empty() {
                    true => {
                        "a step needs one of `send`, `expect`, `send_hex`, `expect_hex` and `expect_regex`".to_owned()
                    }
                    false => {
                        format!("a step does one thing, and this has `{}`: make a step of each", names.join("`, `"))
                    }
                };
                self.report.error(item.at, &path, message);
            }
            steps.extend(names.first().and_then(|name| step(name, &section)));
        }
        if steps.is_empty() && node.items().is_empty() {
            self.report.error(node.at, path, "a script needs at least one step");
        }
        Some(steps.into())
    }

    /// How a database is asked. Where `role_needs_user`, only a user is told a server's role.
    fn login(&mut self, section: &Section<'a>, role_needs_user: bool) -> Login {
        let login = Login {
            role: section.given("role", word(&[("primary", Role::Primary), ("replica", Role::Replica)])),
            user: section.given("user", shared_text),
            database: match keys::find(section.keys(), "database") {
                Some(_) => section.given("database", shared_text),
                None => None,
            },
            password_file: section.find("password_file").and_then(|found| self.secret(&found, is_text)),
        };
        if login.user.is_some() || !role_needs_user {
            return login;
        }
        let needs_user = |name: &str| keys::find(section.keys(), name).and_then(|_| section.find(name));
        for name in ["role", "database", "password_file"] {
            if let Some(found) = needs_user(name) {
                let message = format!("`{name}` needs a `user` to log in as");
                self.report.error(found.at, &found.path, message);
            }
        }
        login
    }
}

/// Whether a file that is there holds text, as far as anyone reads a password.
fn is_text(path: &Path) -> io::Result<()> {
    const ENOUGH: u64 = 1024 * 1024;
    String::from_utf8(read_regular(path, ENOUGH)?).map(drop).map_err(io::Error::other)
}

/// `keep`, `reset` or `{ drain: 5m }`.
pub(super) fn on_change(section: &Section<'_>, name: &str) -> OnChange {
    let read = |node: &Node| match chosen(node).ok_or(())? {
        ("keep", ..) => Ok(OnChange::Keep),
        ("reset", ..) => Ok(OnChange::Reset),
        ("drain", _, Some(span)) => scalar::duration(span).map(OnChange::Drain).map_err(drop),
        _ => Err(()),
    };
    section.read(name, read).unwrap_or(OnChange::Keep)
}

fn step(name: &str, section: &Section<'_>) -> Option<Step> {
    let text = |node: &Node| scalar::text(node, "text").map(|text| Arc::from(text.as_bytes()));
    let bytes = |node: &Node| scalar::hex(node).map(Arc::from);
    match name {
        "send" => section.given(name, text).map(Step::Send),
        "expect" => section.given(name, text).map(Step::Expect),
        "send_hex" => section.given(name, bytes).map(Step::Send),
        "expect_hex" => section.given(name, bytes).map(Step::Expect),
        _ => section.given(name, scalar::regex).map(Pattern).map(Step::ExpectMatch),
    }
}

fn http(section: &Section<'_>) -> Http {
    let owned = |read: fn(&Node) -> Result<&str, String>| move |node: &Node| read(node).map(str::to_owned);
    let status = |node: &Node| node.items().iter().map(scalar::statuses).collect::<Result<Vec<_>, _>>();
    Http {
        method: section.value("method", owned(scalar::method)),
        path: section.value("path", owned(scalar::http_path)),
        host: section.given("host", owned(scalar::token)),
        status: section.value("status", status),
        body: section.given("body_regex", scalar::regex).map(Pattern),
        tls: section.value("tls", scalar::boolean),
    }
}

fn shared_text(node: &Node) -> Result<Arc<str>, String> {
    scalar::text(node, "text").map(Arc::from)
}
