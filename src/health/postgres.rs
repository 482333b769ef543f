//! `postgres`: it answers as PostgreSQL does, lets a user in, and is what it must be.
//!
//! Without a user only this is known: a PostgreSQL server answers there. It is asked whether it encrypts by GSSAPI and
//! left before anything else is said, which is the one exchange that PostgreSQL 12 and later do not log (of SSLRequest
//! a server with `ssl = on` says "could not accept SSL connection: EOF detected"). The answer comes before the server
//! looks at its own state: while it starts, recovers or shuts down, or has no connection left, it answers just so.
//!
//! Inside TLS the question would be an error; there the handshake was the answer.
//!
//! With a user it logs in, which tells all that. Whoever it logs in as needs no right but to connect.

use std::sync::Arc;

use super::{Checking, Line, Probe, ProbeError, password};
use crate::config::plan::{Login, Role};
use crate::wire::postgres::scram::{self, Exchange, Salting};
use crate::wire::postgres::{self, Authentication, Message};

/// A login and a question take some 20 messages; whoever says more than this is not listening.
const MOST_MESSAGES: usize = 500;
/// Iterations of SCRAM between which other probes have their turn: some 3 ms of work.
const TURN: u32 = 4096;
/// What an old server answers to a request that it does not know: `feature_not_supported`.
const NOT_SUPPORTED: &[u8] = b"0A000";

/// See the module.
#[derive(Debug)]
pub(super) struct Postgres(pub(super) Arc<Login>);

impl Probe for Postgres {
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a> {
        Box::pin(async move {
            match &self.0.user {
                None => recognise(line).await,
                Some(user) => Session { line, login: &self.0, user, heard: 0 }.check().await,
            }
        })
    }
}

/// Asks what any PostgreSQL server answers.
async fn recognise(line: &mut Line) -> Result<(), ProbeError> {
    if line.is_secure() {
        return Ok(());
    }
    line.send(&postgres::GSSENC_REQUEST).await?;
    match line.read(postgres::encryption).await? {
        Err(refusal) if refusal.code != NOT_SUPPORTED => Err(ProbeError::unexpected(refusal.words)),
        _ => Ok(()),
    }
}

/// One login.
struct Session<'a> {
    line: &'a mut Line,
    login: &'a Login,
    user: &'a str,
    /// How many messages have come.
    heard: usize,
}

impl Session<'_> {
    async fn check(mut self) -> Result<(), ProbeError> {
        self.line.send(&postgres::startup(self.user, self.login.database.as_deref())).await?;
        // Whoever leaves before this is done says nothing: a goodbye would be a protocol error in the server's log.
        self.authenticate().await?;
        let found = self.look_around().await;
        // A server that has refused us is gone, and no worse for it.
        let _ = self.line.send(&postgres::TERMINATE).await;
        found
    }

    async fn authenticate(&mut self) -> Result<(), ProbeError> {
        loop {
            match self.authentication().await? {
                Authentication::Ok => return Ok(()),
                Authentication::Cleartext => self.answer_cleartext().await?,
                Authentication::Md5(salt) => {
                    let answer = postgres::md5_answer(self.user, &self.password()?, salt);
                    self.line.send(&postgres::password(&answer)).await?;
                }
                Authentication::Sasl(mechanisms) => self.answer_scram(&mechanisms).await?,
                other => return Err(unknown(&other)),
            }
        }
    }

    /// A password in clear is said only where nobody else can hear it.
    async fn answer_cleartext(&mut self) -> Result<(), ProbeError> {
        if !self.line.is_private() {
            let words = "it wants the password in clear, over a connection that is not encrypted: use scram-sha-256";
            return Err(ProbeError::unexpected(words));
        }
        let password = self.password()?;
        self.line.send(&postgres::password(&password)).await
    }

    async fn answer_scram(&mut self, mechanisms: &[Vec<u8>]) -> Result<(), ProbeError> {
        if !mechanisms.iter().any(|name| name == scram::MECHANISM.as_bytes()) {
            return Err(ProbeError::unexpected(format!("it knows no {}", scram::MECHANISM)));
        }
        let password = self.password()?;
        let exchange = Exchange::new("", &nonce()?);
        self.line.send(&postgres::sasl_initial(scram::MECHANISM, exchange.first().as_bytes())).await?;
        let challenge = match self.authentication().await? {
            Authentication::SaslContinue(words) => exchange.challenged(&words)?,
            other => return Err(unknown(&other)),
        };
        let salted = salted(challenge.salting(&password)).await;
        let (words, verification) = challenge.answered(&salted);
        self.line.send(&postgres::sasl_response(words.as_bytes())).await?;
        match self.authentication().await? {
            Authentication::SaslFinal(words) => Ok(verification.verify(&words)?),
            other => Err(unknown(&other)),
        }
    }

    fn password(&self) -> Result<Vec<u8>, ProbeError> {
        match &self.login.password_file {
            Some(file) => password::read(Some(file)),
            None => Err(ProbeError::local("it asks for a password, and there is no `password_file`")),
        }
    }

    /// Waits until the server is ready, and asks for its role if that matters and it has not said it unasked.
    async fn look_around(&mut self) -> Result<(), ProbeError> {
        let mut in_recovery = None;
        loop {
            match self.next().await? {
                // Since PostgreSQL 14.
                Message::Parameter { name, value } if name == b"in_hot_standby" => in_recovery = Some(value == b"on"),
                Message::Ready => break,
                _ => {}
            }
        }
        let Some(role) = self.login.role else { return Ok(()) };
        let in_recovery = match in_recovery {
            Some(said) => said,
            None => self.ask_whether_in_recovery().await?,
        };
        match (role, in_recovery) {
            (Role::Primary, false) | (Role::Replica, true) => Ok(()),
            (Role::Primary, true) => Err(ProbeError::unexpected("it is a replica, not the primary")),
            (Role::Replica, false) => Err(ProbeError::unexpected("it is a primary, not a replica")),
        }
    }

    async fn ask_whether_in_recovery(&mut self) -> Result<bool, ProbeError> {
        self.line.send(&postgres::query("SELECT pg_catalog.pg_is_in_recovery()")).await?;
        let mut answer = None;
        loop {
            match self.next().await? {
                Message::Row(value) => answer = value,
                Message::Ready => break,
                _ => {}
            }
        }
        match answer.as_deref() {
            Some(b"t") => Ok(true),
            Some(b"f") => Ok(false),
            _ => Err(ProbeError::unexpected("it does not say whether it is in recovery")),
        }
    }

    /// The next message about who we are.
    async fn authentication(&mut self) -> Result<Authentication, ProbeError> {
        loop {
            match self.next().await? {
                Message::Authentication(authentication) => return Ok(authentication),
                Message::Other => {}
                _ => return Err(ProbeError::unexpected("it goes on before it knows who we are")),
            }
        }
    }

    /// The next message that is not an error.
    async fn next(&mut self) -> Result<Message, ProbeError> {
        self.heard += 1;
        if self.heard > MOST_MESSAGES {
            return Err(ProbeError::unexpected(format!("more than {MOST_MESSAGES} messages")));
        }
        match self.line.read(postgres::message).await? {
            Message::Error(refusal) => Err(ProbeError::unexpected(refusal.words)),
            message => Ok(message),
        }
    }
}

/// Does the server's sum, and lets other tasks have their turn meanwhile.
async fn salted(mut salting: Salting) -> [u8; 32] {
    loop {
        if let Some(salted) = salting.advance(TURN) {
            return salted;
        }
        tokio::task::yield_now().await;
    }
}

/// 128 bits that nobody can guess.
fn nonce() -> Result<String, ProbeError> {
    let mut bytes = [0; 16];
    // So few bytes come whole, or not at all.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| ProbeError::local(format!("no random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn unknown(authentication: &Authentication) -> ProbeError {
    ProbeError::unexpected(match authentication {
        Authentication::Other(7 | 9) => "it wants a login by GSSAPI, which probes do not know".to_owned(),
        Authentication::Other(number) => format!("it wants a login of kind {number}, which probes do not know"),
        _ => "it breaks off one kind of login for another".to_owned(),
    })
}

#[cfg(test)]
mod tests;
