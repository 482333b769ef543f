//! What the probe makes of servers that say what no real one would say on demand.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::super::rig::{Server, fails, told};
use super::refused;
use crate::config::plan::{self, Login, Role};
use crate::health::ProbeError;
use crate::metrics::ProbeResult;

const PING: &str = "*1\r\n$4\r\nPING\r\n";
const ROLE: &str = "*1\r\n$4\r\nROLE\r\n";
const INFO: &str = "*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";
const QUIT: &str = "*1\r\n$4\r\nQUIT\r\n";

/// A server that hears the first of each pair and says the second, then hears QUIT.
async fn talk(login: Login, story: &'static [(&'static str, &'static str)]) -> Result<(), ProbeError> {
    let story = async move |mut server: Server| {
        for (hears, says) in story {
            server.hears(hears).await;
            server.says(says).await;
        }
        server.hears(QUIT).await;
        server.says("+OK\r\n").await;
        server.hears_the_end().await;
    };
    told(plan::Probe::Redis(Arc::new(login)), story).await
}

async fn role(role: Role, story: &'static [(&'static str, &'static str)]) -> Result<(), ProbeError> {
    talk(Login { role: Some(role), ..Login::default() }, story).await
}

#[tokio::test]
async fn it_answers_ping_or_says_why_not() {
    talk(Login::default(), &[(PING, "+PONG\r\n")]).await.unwrap();
    let loading = talk(Login::default(), &[(PING, "-LOADING Redis is loading the dataset in memory\r\n")]);
    fails(loading.await, ProbeResult::Unexpected, "it answers PING with `LOADING Redis is loading");
    let cut_off = talk(Login::default(), &[(PING, "-MASTERDOWN Link with MASTER is down\r\n")]);
    fails(cut_off.await, ProbeResult::Unexpected, "`MASTERDOWN Link");
    let closed = talk(Login::default(), &[(PING, "-NOAUTH Authentication required.\r\n")]);
    fails(closed.await, ProbeResult::Unexpected, "`NOAUTH Authentication");
    fails(talk(Login::default(), &[(PING, "+OK\r\n")]).await, ProbeResult::Unexpected, "PING with `OK`");
    fails(talk(Login::default(), &[(PING, "*2\r\n:1\r\n:2\r\n")]).await, ProbeResult::Unexpected, "with 2 things");
    fails(talk(Login::default(), &[(PING, "HTTP/1.1 400\r\n")]).await, ProbeResult::Unexpected, "not Redis: `HTTP");
}

#[tokio::test]
async fn a_replica_is_one_only_while_it_follows() {
    const PRIMARY: (&str, &str) = (ROLE, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    const FOLLOWING: (&str, &str) = (ROLE, "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n");
    const FETCHING: (&str, &str) = (ROLE, "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:6379\r\n$4\r\nsync\r\n:-1\r\n");
    const PONG: (&str, &str) = (PING, "+PONG\r\n");
    let unexpected = ProbeResult::Unexpected;
    role(Role::Primary, &[PONG, PRIMARY]).await.unwrap();
    role(Role::Replica, &[PONG, FOLLOWING]).await.unwrap();
    fails(role(Role::Primary, &[PONG, FOLLOWING]).await, unexpected, "it is a replica, not the primary");
    fails(role(Role::Primary, &[PONG, FETCHING]).await, unexpected, "it is a replica, not the primary");
    fails(role(Role::Replica, &[PONG, PRIMARY]).await, unexpected, "it is a primary");
    fails(role(Role::Replica, &[PONG, FETCHING]).await, unexpected, "does not follow its primary: the link is `sync`");
    let sentinel = &[PONG, (ROLE, "*2\r\n$8\r\nsentinel\r\n*0\r\n")];
    fails(role(Role::Primary, sentinel).await, unexpected, "it is a `sentinel`");
}

#[tokio::test]
async fn info_stands_in_for_role() {
    const REFUSED: (&str, &str) = (ROLE, "-NOPERM this user has no permissions to run the 'role' command\r\n");
    role(Role::Primary, &[(PING, "+PONG\r\n"), REFUSED, (INFO, "$13\r\nrole:master\r\n\r\n")]).await.unwrap();
    let neither = role(Role::Primary, &[(PING, "+PONG\r\n"), REFUSED, (INFO, "-NOPERM neither\r\n")]);
    fails(neither.await, ProbeResult::Unexpected, "it answers INFO with `NOPERM neither`");
}

#[tokio::test]
async fn a_password_goes_to_the_server_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let login = |user: Option<&str>| Login {
        user: user.map(Into::into),
        password_file: Some(file.clone()),
        ..Login::default()
    };
    const AUTH: &str = "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n";
    talk(login(None), &[(AUTH, "+OK\r\n"), (PING, "+PONG\r\n")]).await.unwrap();
    let named = "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nsecret\r\n";
    talk(login(Some("u")), Vec::leak(vec![(named, "+OK\r\n"), (PING, "+PONG\r\n")])).await.unwrap();
    let nameless = Login { user: Some("u".into()), ..Login::default() };
    let none = "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$0\r\n\r\n";
    talk(nameless, Vec::leak(vec![(none, "+OK\r\n"), (PING, "+PONG\r\n")])).await.unwrap();
    let unexpected = ProbeResult::Unexpected;
    let wrong = talk(login(None), &[(AUTH, "-WRONGPASS invalid username-password pair or user is disabled.\r\n")]);
    fails(wrong.await, unexpected, "refuses AUTH: `WRONGPASS invalid username-password pair");
    let echo = talk(login(None), &[(AUTH, "-ERR unknown command 'AUTH', with args beginning with: 'secret' \r\n")]);
    fails(echo.await, unexpected, "`ERR unknown command");
    fails(
        talk(login(None), &[(AUTH, "-ERR so secret is it\r\n")]).await,
        unexpected,
        "in words that have the password",
    );
    fails(talk(login(None), &[(AUTH, "$6\r\nsecret\r\n")]).await, unexpected, "a strange answer to AUTH");
    std::fs::remove_file(&file).unwrap();
    fails(talk(login(None), &[]).await, ProbeResult::Local, "cannot read /");
}

#[test]
fn what_a_server_repeats_is_left_out() {
    assert_eq!(refused(b"WRONGPASS invalid", b""), "it refuses AUTH: `WRONGPASS invalid`");
    assert_eq!(refused(b"ERR unknown, with args beginning with: `sec", b"secret"), "it refuses AUTH: `ERR unknown`");
    for error in ["ERR secret", "secret", "xsecretx"] {
        assert!(!refused(error.as_bytes(), b"secret").contains("secret"));
    }
}
