//! `redis`: it answers PING, and is what it must be.
//!
//! A replica is well only while its link to its primary is: one that has lost it, or is still fetching the data, answers
//! from the past or not at all. So when a primary dies its replicas are not well either; `fail_open_below` uses them
//! nevertheless. Without a `role`, whoever answers PING is well.

use std::sync::Arc;

use super::{Checking, Line, Probe, ProbeError, password};
use crate::config::plan::{Login, Role};
use crate::wire::quoted;
use crate::wire::redis::{self, Reply};

/// See the module.
#[derive(Debug)]
pub(super) struct Redis(pub(super) Arc<Login>);

impl Probe for Redis {
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a> {
        Box::pin(async move {
            let found = check(line, &self.0).await;
            let _ = line.send(&redis::command(&[b"QUIT"])).await;
            found
        })
    }
}

async fn check(line: &mut Line, login: &Login) -> Result<(), ProbeError> {
    if login.user.is_some() || login.password_file.is_some() {
        log_in(line, login).await?;
    }
    match ask(line, &[b"PING"]).await? {
        Reply::Simple(pong) if pong == b"PONG" => {}
        other => return Err(strange("PING", &other)),
    }
    match login.role {
        None => Ok(()),
        Some(role) => in_role(role, &ask_role(line).await?),
    }
}

async fn log_in(line: &mut Line, login: &Login) -> Result<(), ProbeError> {
    let password = password::read(login.password_file.as_deref())?;
    let user = login.user.as_ref().map(|user| user.as_bytes());
    let words: Vec<&[u8]> = [Some(&b"AUTH"[..]), user, Some(&password)].into_iter().flatten().collect();
    match ask(line, &words).await? {
        Reply::Simple(_) => Ok(()),
        Reply::Error(error) => Err(ProbeError::unexpected(refused(&error, &password))),
        _ => Err(ProbeError::unexpected("a strange answer to AUTH")),
    }
}

/// Why a login is refused. A server that does not know AUTH repeats what it was told, or the beginning of that, and
/// the password must not get into a log so.
fn refused(error: &[u8], password: &[u8]) -> String {
    const ECHO: &[u8] = b", with args";
    let end = error.windows(ECHO.len()).position(|window| window == ECHO).unwrap_or(error.len());
    let told = &error[..end];
    match !password.is_empty() && told.windows(password.len()).any(|window| window == password) {
        true => "it refuses AUTH, in words that have the password in them".to_owned(),
        false => format!("it refuses AUTH: {}", quoted(told)),
    }
}

/// What it says to ROLE, or to INFO where it does not know that or does not tell us.
async fn ask_role(line: &mut Line) -> Result<redis::Role, ProbeError> {
    match ask(line, &[b"ROLE"]).await? {
        Reply::Error(_) => match ask(line, &[b"INFO", b"replication"]).await? {
            Reply::Bulk(Some(lines)) => Ok(redis::role_from_info(&lines)?),
            other => Err(strange("INFO", &other)),
        },
        other => Ok(redis::role(&other)?),
    }
}

fn in_role(role: Role, found: &redis::Role) -> Result<(), ProbeError> {
    let words = match (role, found) {
        (Role::Primary, redis::Role::Primary) | (Role::Replica, redis::Role::Replica { follows: true, .. }) => {
            return Ok(());
        }
        (Role::Primary, redis::Role::Replica { .. }) => "it is a replica, not the primary".to_owned(),
        (Role::Replica, redis::Role::Primary) => "it is a primary, not a replica".to_owned(),
        (Role::Replica, redis::Role::Replica { link, .. }) => {
            format!("it is a replica that does not follow its primary: the link is {}", quoted(link))
        }
        (_, redis::Role::Other(other)) => format!("it is a {}", quoted(other)),
    };
    Err(ProbeError::unexpected(words))
}

async fn ask(line: &mut Line, words: &[&[u8]]) -> Result<Reply, ProbeError> {
    line.send(&redis::command(words)).await?;
    line.read(redis::reply).await
}

fn strange(command: &str, reply: &Reply) -> ProbeError {
    let reply = match reply {
        Reply::Error(text) | Reply::Simple(text) | Reply::Bulk(Some(text)) => quoted(text),
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(None) | Reply::Array(None) => "nothing".to_owned(),
        Reply::Array(Some(items)) => format!("{} things", items.len()),
    };
    ProbeError::unexpected(format!("it answers {command} with {reply}"))
}

#[cfg(test)]
mod tests;
