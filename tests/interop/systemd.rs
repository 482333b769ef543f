//! Socket activation by systemd's own tool.

use crate::support::{Backend, Peer, Setup, free_port, program};

#[test]
fn systemd_socket_activate_gives_its_socket() {
    let backend = Backend::new().echo();
    let port = free_port();
    let activate = program("systemd-socket-activate").get_program().to_str().unwrap().to_owned();
    let listen = format!("--listen=127.0.0.1:{port}");
    let proxy = Setup::to([&backend])
        .bind(format!("127.0.0.1:{port}"))
        .wrapped(&[&activate, &listen, "--fdname=front"])
        .launch();
    // It starts the program when the first client comes, which waits meanwhile.
    let mut client = crate::support::eventually("it listens", || Peer::try_connect(([127, 0, 0, 1], port).into()).ok());
    client = client.seeded(5, 5);
    client.say(1000);
    client.hear(1000);
    client.finish();
    client.hear_end();
    proxy.logs("ready");
}
