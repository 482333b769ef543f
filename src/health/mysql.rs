//! `mysql`: it answers as MySQL or MariaDB does, lets a user in, and is what it must be.
//!
//! Whoever leaves after the greeting is, to MariaDB and MySQL, a connection that failed: after `max_connect_errors` of
//! them in a row (100 unless told otherwise) the server blocks the host, which is every client of this proxy. So a probe
//! without a user logs in as `peerway` with no password, and is content to be turned away; that does not block anyone.
//! The server counts it in `Aborted_connects`, and MariaDB writes a warning each time: give the probe a user.
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
}

/// Logs in as nobody.
async fn recognise(line: &mut Line) -> Result<(), ProbeError> {
    match log_in(line, NOBODY, b"").await? {
        Err(refusal) if !TURNED_AWAY.contains(&refusal.code) => Err(ProbeError::unexpected(refusal.words)),
        // It has hung up already.
        Err(_) => Ok(()),
        Ok(()) => line.send(&mysql::QUIT).await,
    }
}

async fn check(line: &mut Line, login: &Login, user: &str) -> Result<(), ProbeError> {
    let password = password::read(login.password_file.as_deref())?;
    log_in(line, user, &password).await?.map_err(|refusal| ProbeError::unexpected(refusal.words))?;
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

/// Hears the greeting and logs in; gives what the server says to that.
async fn log_in(line: &mut Line, user: &str, password: &[u8]) -> Result<Result<(), Refusal>, ProbeError> {
    let first = line.read(mysql::packet).await?;
    let greeting = match mysql::greeting(&first.body)? {
        Ok(greeting) => greeting,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (mut plugin, response) = mysql::handshake_response(&greeting, first.sequence.wrapping_add(1), user, password);
    line.send(&response).await?;
    for _ in 0..MOST_PACKETS {
        let packet = line.read(mysql::packet).await?;
        let next = packet.sequence.wrapping_add(1);
        let said = match mysql::login(&packet.body)? {
            mysql::Login::Ok => return Ok(Ok(())),
            mysql::Login::Refused(refusal) => return Ok(Err(refusal)),
            mysql::Login::Proven => continue,
            said => said,
        };
        match answer(said, &mut plugin, password, line.is_private()) {
            Ok(answer) => line.send(&mysql::framed(next, &answer)).await?,
            Err(error) => {
                be_turned_away(line, next).await;
                return Err(error);
            }
        }
    }
    Err(ProbeError::unexpected("a login without an end"))
}

/// What a server hears that wants to know more.
fn answer(said: mysql::Login, plugin: &mut Plugin, password: &[u8], private: bool) -> Result<Vec<u8>, ProbeError> {
    match said {
        // No password is no password in every plugin, also in those that are not known here.
        mysql::Login::Switch { .. } if password.is_empty() => Ok(Vec::new()),
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

/// Gives no proof and waits for the answer: a client that only leaves brings its host nearer to being blocked.
async fn be_turned_away(line: &mut Line, sequence: u8) {
    let _ = line.send(&mysql::framed(sequence, b"\0")).await;
    let _ = line.read(mysql::packet).await;
    let _ = line.send(&mysql::QUIT).await;
}

#[cfg(test)]
mod tests;
