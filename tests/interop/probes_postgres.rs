//! The probe for PostgreSQL: every way to log in, roles over a promotion, and not a word in the server's log.

use std::fs;
use std::sync::Arc;

use peerway::config::plan::{Login, Probe, Role};

use crate::cluster::{Server, cluster};
use crate::probes::{at_path, at_port, fails, in_role, login, tells_apart};
use crate::support::{eventually, free_port};

fn probe(login: &Login) -> Probe {
    Probe::Postgres(Arc::new(login.clone()))
}

const ACCESS: &str = "
local all clear password
local all all trust
host all md5er all md5
host all scrammer all scram-sha-256
host all clear all password
host all stranger all reject
host all all all trust
";

#[test]
fn every_login_is_let_in_and_none_is_logged() {
    let (dir, data) = cluster();
    fs::write(data.join("pg_hba.conf"), ACCESS).unwrap();
    let server = Server::start(data, &["password_encryption=md5"]);
    server.sql("CREATE USER trusted; CREATE USER md5er PASSWORD 'geheim'; CREATE USER clear PASSWORD 'klar'");
    server.sql("SET password_encryption = 'scram-sha-256'; CREATE USER scrammer PASSWORD 'a longer one, with = and ,'");
    let scrammer = login("scrammer", dir.path(), Some("a longer one, with = and ,"));
    let with_database = Login { database: Some("postgres".into()), ..login("trusted", dir.path(), None) };
    let clear = login("clear", dir.path(), Some("klar"));
    let socket = dir.path().join(format!(".s.PGSQL.{}", server.port));
    let mut good = vec![Login::default(), with_database];
    good.extend([login("md5er", dir.path(), Some("geheim")), scrammer].map(in_postgres));
    let before = server.log();
    for _ in 0..20 {
        for login in &good {
            at_port(server.port, &probe(login)).unwrap();
        }
        for login in &good[1..] {
            at_port(server.port, &probe(&in_role(login, Role::Primary))).unwrap();
            fails(at_port(server.port, &probe(&in_role(login, Role::Replica))), "it is a primary, not a replica");
        }
        at_path(&socket, &probe(&in_postgres(clear.clone()))).unwrap();
        fails(at_port(server.port, &probe(&in_postgres(clear.clone()))), "not encrypted");
    }
    server.is_left_alone();
    let after = server.log();
    assert_eq!(after.len(), before.len() + 2, "our marks, and what the second one is about: {after:#?}");
}

fn in_postgres(login: Login) -> Login {
    Login { database: Some("postgres".into()), ..login }
}

#[test]
fn a_login_that_is_refused_is_so_in_words() {
    let (dir, data) = cluster();
    fs::write(data.join("pg_hba.conf"), ACCESS).unwrap();
    let server = Server::start(data, &["password_encryption=md5"]);
    server.sql("CREATE USER md5er PASSWORD 'geheim'; CREATE USER trusted");
    server.sql("SET password_encryption = 'scram-sha-256'; CREATE USER scrammer PASSWORD 'x'");
    for user in ["md5er", "scrammer"] {
        let wrong = in_postgres(login(user, dir.path(), Some("wrong")));
        fails(at_port(server.port, &probe(&wrong)), "FATAL 28P01: password authentication failed for user");
    }
    // The file is read each time.
    let md5er = in_postgres(login("md5er", dir.path(), Some("geheim")));
    at_port(server.port, &probe(&md5er)).unwrap();
    fails(at_port(server.port, &probe(&login("stranger", dir.path(), None))), "FATAL 28000: pg_hba.conf rejects");
    let nowhere = login("trusted", dir.path(), None);
    fails(at_port(server.port, &probe(&nowhere)), r#"FATAL 3D000: database \"trusted\" does not exist"#);
    server.is_left_alone();
}

#[test]
fn a_replica_is_one_until_it_is_promoted() {
    let (dir, data) = cluster();
    let primary = Server::start(data, &["wal_level=replica"]);
    let copy = primary.copy("copy");

    let user = login("postgres", dir.path(), None);
    let (anyone, as_primary, as_replica) =
        (probe(&user), probe(&in_role(&user, Role::Primary)), probe(&in_role(&user, Role::Replica)));
    // One that lets nobody in says so to a user, and to nobody else.
    let cold = Server::launch(copy, free_port(), &["hot_standby=off"]);
    fails(at_port(cold.port, &anyone), "FATAL 57P03: the database system is");
    at_port(cold.port, &probe(&Login::default())).unwrap();
    let copy = cold.data.clone();
    drop(cold);

    let replica = Server::start(copy, &["hot_standby=on"]);
    eventually("a replica that lets us in", || at_port(replica.port, &anyone).ok());
    let before = replica.program.said().len();
    tells_apart((primary.port, &as_primary), (replica.port, &as_replica));
    replica.is_left_alone();
    let said = replica.program.said();
    let of_probes =
        said[before..].iter().find(|line| ["ERROR", "FATAL", "WARNING"].iter().any(|word| line.contains(word)));
    assert_eq!(of_probes, None);

    replica.promote();
    at_port(replica.port, &as_primary).unwrap();
    fails(at_port(replica.port, &as_replica), "it is a primary, not a replica");
}
