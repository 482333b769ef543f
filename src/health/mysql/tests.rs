//! What the probe makes of servers that say what no real one would say on demand.
//!
//! The transcripts of `caching_sha2_password` are made up from MySQL's description of its protocol.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::super::rig::{Server, asked, fails, told, told_privately};
use super::NO_PROOF;
use crate::config::plan::{self, Login, Role};
use crate::health::ProbeError;
use crate::metrics::ProbeResult;
use crate::wire::mysql::{Nonce, framed, native_scramble, sha2_scramble};

const NONCE: Nonce = *b"abcdefghijklmnopqrst";
const OTHER_NONCE: Nonce = *b"ABCDEFGHIJKLMNOPQRST";
const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const DENIED: &[u8] = b"\xff\x15\x04#28000Access denied for user 'u'@'localhost'";
const GOODBYE: &[u8] = b"\x01\0\0\0\x01";

fn greeting(plugin: &str) -> Vec<u8> {
    let head = [b"\x0a8.4.3\0\x07\0\0\0", &NONCE[..8], b"\0\xff\xff\xff\x02\0\xff\xdf\x15", &[0; 10]].concat();
    framed(0, &[&head, &NONCE[8..], b"\0", plugin.as_bytes(), b"\0"].concat())
}

fn response(user: &str, proof: &[u8], plugin: &str) -> Vec<u8> {
    let head = [b"\0\x82\x08\0\0\0\0\x01\x2d".as_slice(), &[0; 23]].concat();
    let user = [user.as_bytes(), &[0, proof.len() as u8]].concat();
    framed(1, &[&head, &user, proof, plugin.as_bytes(), b"\0"].concat())
}

fn switch(plugin: &str) -> Vec<u8> {
    framed(2, &[b"\xfe", plugin.as_bytes(), b"\0", &OTHER_NONCE, b"\0"].concat())
}

fn value(row: &str) -> Vec<u8> {
    let row = [&[row.len() as u8], row.as_bytes()].concat();
    [
        framed(1, &[1]),
        framed(2, b"\x03def"),
        framed(3, b"\xfe\0\0\x02\0"),
        framed(4, &row),
        framed(5, b"\xfe\0\0\x02\0"),
    ]
    .concat()
}

/// A login whose password is `secret`, in a folder that must be kept.
fn login(role: Option<Role>) -> (TempDir, plan::Probe) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "secret\n").unwrap();
    let probe = probe(role, Some(&dir.path().join("password")));
    (dir, probe)
}

fn probe(role: Option<Role>, password: Option<&Path>) -> plan::Probe {
    let password_file = password.map(Path::to_owned);
    plan::Probe::Mysql(Arc::new(Login { role, user: Some("u".into()), password_file, ..Login::default() }))
}

#[tokio::test]
async fn without_a_user_being_turned_away_is_well() {
    let says = |verdict: &'static [u8]| {
        told(plan::Probe::Mysql(Arc::default()), move |mut server| async move {
            server.says(greeting("mysql_native_password")).await;
            server.hears(response("peerway", b"", "mysql_native_password")).await;
            server.says(framed(2, verdict)).await;
            if verdict == OK {
                server.hears(GOODBYE).await;
            }
            server.hears_the_end().await;
        })
    };
    says(DENIED).await.unwrap();
    says(b"\xff\xa2\x06#28000Access denied for user 'peerway'").await.unwrap();
    says(OK).await.unwrap();
    fails(says(b"\xff\x19\x04#42000Unknown database").await, ProbeResult::Unexpected, "Unknown database");
}

#[tokio::test]
async fn a_server_that_does_not_greet_says_why() {
    for words in ["Too many connections", "Host '127.0.0.1' is blocked because of many connection errors"] {
        let found = told(plan::Probe::Mysql(Arc::default()), move |mut server| async move {
            server.says(framed(0, &[b"\xff\x10\x04", words.as_bytes()].concat())).await;
            server.hears_the_end().await;
        });
        fails(found.await, ProbeResult::Unexpected, &words[..8].replace('\'', "\\'"));
    }
    let other = told(plan::Probe::Mysql(Arc::default()), |mut server| async move {
        server.says(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        server.hears_the_end().await;
    });
    fails(other.await, ProbeResult::Unexpected, "not MySQL: `SSH-2.0");
}

async fn read_only(role: Role, answer: Vec<u8>) -> Result<(), ProbeError> {
    let (_dir, probe) = login(Some(role));
    let story = async move |mut server: Server| {
        server.says(greeting("mysql_native_password")).await;
        let proof = native_scramble(b"secret", &NONCE);
        server.hears(response("u", &proof, "mysql_native_password")).await;
        server.says(framed(2, OK)).await;
        server.hears(b"\x1a\0\0\0\x03SELECT @@global.read_only").await;
        server.says(answer).await;
        server.hears(GOODBYE).await;
    };
    told(probe, story).await
}

#[tokio::test]
async fn who_takes_writes_is_the_primary() {
    let unexpected = ProbeResult::Unexpected;
    for (primary, replica) in [("0", "1"), ("OFF", "ON"), ("OFF", "NO_LOCK_NO_ADMIN")] {
        read_only(Role::Primary, value(primary)).await.unwrap();
        read_only(Role::Replica, value(replica)).await.unwrap();
        fails(read_only(Role::Primary, value(replica)).await, unexpected, "it is a replica");
        fails(read_only(Role::Replica, value(primary)).await, unexpected, "it is a primary");
    }
    let refused = framed(1, b"\xff\x8a\x04#HY000You must SET PASSWORD");
    fails(read_only(Role::Primary, refused).await, unexpected, "SET PASSWORD");
}

#[tokio::test]
async fn a_server_may_want_another_proof() {
    let (_dir, probe) = login(None);
    let switched = told(probe, |mut server| async move {
        server.says(greeting("client_ed25519")).await;
        let first = native_scramble(b"secret", &NONCE);
        server.hears(response("u", &first, "mysql_native_password")).await;
        server.says(switch("mysql_native_password")).await;
        server.hears(framed(3, &native_scramble(b"secret", &OTHER_NONCE))).await;
        server.says(framed(4, OK)).await;
        server.hears(GOODBYE).await;
    });
    switched.await.unwrap();
    // No password is none in all that are known.
    let empty = told(self::probe(None, None), |mut server| async move {
        server.says(greeting("mysql_native_password")).await;
        server.hears(response("u", b"", "mysql_native_password")).await;
        server.says(switch("caching_sha2_password")).await;
        server.hears(framed(3, b"")).await;
        server.says(framed(4, OK)).await;
        server.hears(GOODBYE).await;
    });
    empty.await.unwrap();
}

/// Servers ask strangers for proofs as they ask those they know, so as not to tell who is one.
#[tokio::test]
async fn nobody_has_no_proof_and_needs_none() {
    let asked = told(plan::Probe::Mysql(Arc::default()), |mut server| async move {
        server.says(greeting("mysql_native_password")).await;
        server.hears(response("peerway", b"", "mysql_native_password")).await;
        server.says(switch("client_ed25519")).await;
        server.hears(framed(3, &NO_PROOF)).await;
        server.says(framed(4, DENIED)).await;
        server.hears(GOODBYE).await;
    });
    asked.await.unwrap();
}

/// Leaving in the middle would bring this host nearer to being blocked.
#[tokio::test]
async fn a_proof_that_is_not_known_is_refused_politely() {
    for (request, words) in [(switch("client_ed25519"), "`client_ed25519`"), (framed(2, b"\xfe"), "before 4.1")] {
        let (_dir, probe) = login(None);
        let found = told(probe, |mut server| async move {
            server.says(greeting("mysql_native_password")).await;
            let proof = native_scramble(b"secret", &NONCE);
            server.hears(response("u", &proof, "mysql_native_password")).await;
            server.says(request).await;
            server.hears(framed(3, &NO_PROOF)).await;
            server.says(framed(4, DENIED)).await;
            server.hears(GOODBYE).await;
        });
        fails(found.await, ProbeResult::Unexpected, words);
    }
}

#[tokio::test]
async fn caching_sha2_that_knows_us_needs_no_more_than_a_proof() {
    let (_dir, probe) = login(None);
    let found = told(probe, |mut server| async move {
        server.says(greeting("caching_sha2_password")).await;
        server.hears(response("u", &sha2_scramble(b"secret", &NONCE), "caching_sha2_password")).await;
        server.says([framed(2, b"\x01\x03"), framed(3, OK)].concat()).await;
        server.hears(GOODBYE).await;
    });
    found.await.unwrap();
}

#[tokio::test]
async fn caching_sha2_gets_the_password_itself_only_where_nobody_else_hears_it() {
    let story = |hears: &'static [u8], verdict: &'static [u8]| {
        async move |mut server: Server| {
            server.says(greeting("mysql_native_password")).await;
            let first = native_scramble(b"secret", &NONCE);
            server.hears(response("u", &first, "mysql_native_password")).await;
            server.says(switch("caching_sha2_password")).await;
            server.hears(framed(3, &sha2_scramble(b"secret", &OTHER_NONCE))).await;
            server.says(framed(4, b"\x01\x04")).await;
            server.hears(framed(5, hears)).await;
            server.says(framed(6, verdict)).await;
            server.hears(GOODBYE).await;
        }
    };
    let (_dir, probe) = login(None);
    told_privately(probe.clone(), story(b"secret\0", OK)).await.unwrap();
    fails(told(probe, story(&NO_PROOF, DENIED)).await, ProbeResult::Unexpected, "needs TLS");
}

/// A server that first takes a proof by SHA-1 has no use for the password.
#[tokio::test]
async fn the_password_itself_is_said_in_no_other_plugin() {
    let (_dir, probe) = login(None);
    let found = told_privately(probe, |mut server| async move {
        server.says(greeting("mysql_native_password")).await;
        let proof = native_scramble(b"secret", &NONCE);
        server.hears(response("u", &proof, "mysql_native_password")).await;
        server.says(framed(2, b"\x01\x04")).await;
        server.hears(framed(3, &NO_PROOF)).await;
        server.says(framed(4, DENIED)).await;
        server.hears(GOODBYE).await;
    });
    fails(found.await, ProbeResult::Unexpected, "has no need of");
}

#[tokio::test]
async fn a_login_ends() {
    let (_dir, probe) = login(None);
    let circles = told(probe, |mut server| async move {
        server.says(greeting("mysql_native_password")).await;
        server.says(switch("mysql_native_password").repeat(100)).await;
        while !server.hears_something().await.is_empty() {}
    });
    fails(circles.await, ProbeResult::Unexpected, "a login without an end");
    let (dir, probe) = login(None);
    drop(dir);
    let gone = told(probe, |mut server| async move { server.hears_the_end().await });
    fails(gone.await, ProbeResult::Local, "cannot read /");
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_login_whose_time_is_up_is_finished_all_the_same() {
    let start = Instant::now();
    let nobody = || plan::Probe::Mysql(Arc::default());
    let (found, story) = asked(nobody(), SECOND, |mut server| async move {
        sleep(SECOND * 3 / 2).await;
        server.says(greeting("mysql_native_password")).await;
        server.hears(response("peerway", b"", "mysql_native_password")).await;
        server.says(framed(2, OK)).await;
        server.hears(GOODBYE).await;
        server.hears_the_end().await;
    })
    .await;
    assert_eq!(start.elapsed(), SECOND, "the verdict does not wait for that");
    fails(found, ProbeResult::Timeout, "no answer within 1s");
    story.await.unwrap();

    // One that does not speak at all is left after as much time again.
    let start = Instant::now();
    let (_, story) = asked(nobody(), SECOND, |mut server| async move { server.hears_the_end().await }).await;
    story.await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 2);
    // And who counts nobody as an attacker is left at once.
    let start = Instant::now();
    let (_, story) = asked(plan::Probe::Redis(Arc::default()), SECOND, |mut server| async move {
        server.hears_something().await;
        server.hears_the_end().await;
    })
    .await;
    story.await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
}
