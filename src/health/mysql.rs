//! `mysql`: it answers as MySQL or MariaDB does, lets a user in, and is what it must be.
//!
//! Whoever leaves after the greeting is, to MariaDB and MySQL, a connection that failed: after `max_connect_errors` of
//! them in a row (100 unless told otherwise) the server blocks the host, which is every client of this proxy. So a probe
//! without a user logs in as `peerway` with no password, and is content to be turned away; that does not block anyone.
//! The server counts it in `Aborted_connects`, and MariaDB writes a warning each time: give the probe a user.
//!
//! For the same reason a login whose time is up goes on for as long again. What is left after that is reset: of a
//! connection that is gone before MariaDB has accepted it, as while its process is stopped, it does not know whose it
//! was, and blocks nobody for it; with an end of stream it would.
//!
//! Servers in doubt about a `caching_sha2_password` want the password itself. It is said over a unix socket or TLS; over
//! plain TCP the account must have logged in before in some other way, or use `mysql_native_password`. This plugin was
//! tried on constructed transcripts alone.
//!
//! Who takes writes has `read_only` off: replicas do not know that they are, so it is what failover tools switch. MySQL's
//! group replication does so too, by `super_read_only`, which brings the other with it.

use std::sync::Arc;

use super::{Checking, Line, Probe, ProbeError, password};
use crate::config::plan::{Login, Role};
use crate::wire::mysql::{self, Plugin, Refusal};

/// An answer, a switch, a request for the password, each with its verdict; whoever says more goes round in circles.
const MOST_PACKETS: usize = 8;
/// Who a probe without a user says it is, so that it can be told from strangers in a server's log.
const NOBODY: &str = "peerway";
/// What a server that is well says to nobody: access denied, with or without a password, or not without TLS.
const TURNED_AWAY: [u16; 3] = [1045, 1698, 3159];

/// As long as a signature of MariaDB's ed25519: what has another length is a broken handshake to it, and that counts like
/// leaving. To other plugins this is a wrong password.
const NO_PROOF: [u8; 64] = [0; 64];

/// See the module.
#[derive(Debug)]
pub(super) struct Mysql(pub(super) Arc<Login>);

impl Probe for Mysql {
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a> {
        Box::pin(async move {
            match &self.0.user {
                None => recognise(line).await,
                Some(user) => check(line, &self.0, user).await,
            }
        })
    }

    fn is_finished_late(&self) -> bool {
        true
    }
}

/// Logs in as nobody. A server that wants a proof of some kind from nobody is well too.
async fn recognise(line: &mut Line) -> Result<(), ProbeError> {
    match log_in(line, NOBODY, b"").await? {
        Outcome::In => line.send(&mysql::QUIT).await,
        Outcome::Refused(refusal) if !TURNED_AWAY.contains(&refusal.code) => Err(ProbeError::unexpected(refusal.words)),
        Outcome::Refused(_) | Outcome::Unable(_) => Ok(()),
    }
}

async fn check(line: &mut Line, login: &Login, user: &str) -> Result<(), ProbeError> {
    let password = password::read(login.password_file.as_deref())?;
    match log_in(line, user, &password).await? {
        Outcome::In => {}
        Outcome::Refused(refusal) => return Err(ProbeError::unexpected(refusal.words)),
        Outcome::Unable(error) => return Err(error),
    }
    let found = match login.role {
        None => Ok(()),
        Some(role) => has_role(line, role).await,
    };
    let _ = line.send(&mysql::QUIT).await;
    found
}

async fn has_role(line: &mut Line, role: Role) -> Result<(), ProbeError> {
    line.send(&mysql::query("SELECT @@global.read_only")).await?;
    let value = line.read(mysql::value).await?.map_err(|refusal| ProbeError::unexpected(refusal.words))?;
    // MariaDB 12 has more than two kinds of it, by name.
    let writable = matches!(value.as_deref(), Some(b"0" | b"OFF"));
    match (role, writable) {
        (Role::Primary, true) | (Role::Replica, false) => Ok(()),
        (Role::Primary, false) => Err(ProbeError::unexpected("it is a replica, not the primary: read_only is on")),
        (Role::Replica, true) => Err(ProbeError::unexpected("it is a primary, not a replica: read_only is off")),
    }
}

/// How a login ended.
enum Outcome {
    /// A session has begun.
    In,
    /// The server will not, or cannot, and has hung up.
    Refused(Refusal),
    /// It wanted a proof that we cannot or would not give, and has been let down politely.
    Unable(ProbeError),
}

/// Hears the greeting and logs in.
async fn log_in(line: &mut Line, user: &str, password: &[u8]) -> Result<Outcome, ProbeError> {
    let first = line.read(mysql::packet).await?;
    let greeting = match mysql::greeting(&first.body)? {
        Ok(greeting) => greeting,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    let (mut plugin, response) = mysql::handshake_response(&greeting, first.sequence.wrapping_add(1), user, password);
    line.send(&response).await?;
    for _ in 0..MOST_PACKETS {
        let packet = line.read(mysql::packet).await?;
        let next = packet.sequence.wrapping_add(1);
        let said = match mysql::login(&packet.body)? {
            mysql::Login::Ok => return Ok(Outcome::In),
            mysql::Login::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
            mysql::Login::Proven => continue,
            said => said,
        };
        match answer(said, &mut plugin, password, line.is_private()) {
            Ok(answer) => line.send(&mysql::framed(next, &answer)).await?,
            Err(error) => {
                be_turned_away(line, next).await;
                return Ok(Outcome::Unable(error));
            }
        }
    }
    Err(ProbeError::unexpected("a login without an end"))
}

/// What a server hears that wants to know more.
fn answer(said: mysql::Login, plugin: &mut Plugin, password: &[u8], private: bool) -> Result<Vec<u8>, ProbeError> {
    match said {
        mysql::Login::Switch { plugin: name, data } => {
            let (known, proof) = mysql::answer_to_switch(&name, &data, password)?;
            *plugin = known;
            Ok(proof)
        }
        mysql::Login::NeedsPassword => itself(*plugin, password, private),
        _ => Err(ProbeError::unexpected("it wants a password as MySQL had them before 4.1")),
    }
}

/// The password itself, where nobody else can hear it.
fn itself(plugin: Plugin, password: &[u8], private: bool) -> Result<Vec<u8>, ProbeError> {
    if plugin != Plugin::CachingSha2 {
        return Err(ProbeError::unexpected("it wants the password itself, which its plugin has no need of"));
    }
    if !private && !password.is_empty() {
        return Err(ProbeError::unexpected(
            "caching_sha2_password wants the password itself, which needs TLS: let the account log in once in some other \
             way, or use mysql_native_password",
        ));
    }
    Ok([password, &[0]].concat())
}

/// Gives a proof that is none and waits for the answer: a client that only leaves brings its host nearer to being
/// blocked.
async fn be_turned_away(line: &mut Line, sequence: u8) {
    let _ = line.send(&mysql::framed(sequence, &NO_PROOF)).await;
    let _ = line.read(mysql::packet).await;
    let _ = line.send(&mysql::QUIT).await;
}

#[cfg(test)]
mod tests;
