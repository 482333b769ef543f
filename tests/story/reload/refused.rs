//! Configurations that cannot be: nothing changes, and everyone is told why.

use crate::support::{Backend, Setup, TOP, send_across};

use super::{file, proxy};

#[test]
fn ten_kinds_of_bad_files_leave_everything_as_it_is() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let (mut client, mut server) = proxy.session(&backend);
    let good = file(&[backend.address()], "", "");
    let bad = [
        "".to_owned(),
        "listeners: [".to_owned(),
        good.replace("pool: back", "pool: bakc"),
        good.replace("listeners:", "listners:"),
        good.replace("front: {", "front: { relay: zip,"),
        good.replace("back: { backends", "back: { connect: { timeout: 5 }, backends"),
        good.replace("backends: [", "backends: [ \"nonsense\","),
        format!("{good}  back: {{ backends: [] }}\n"),
        good.replace("127.0.0.1:0\", pool", "127.0.0.1:0-\", pool"),
        format!("include: missing.yaml\n{good}"),
        format!("max_connections: ${{NO_SUCH_VARIABLE}}\n{good}"),
    ];
    for (index, bad) in bad.iter().enumerate() {
        let detail = proxy.refuses(bad);
        assert!(detail.contains("peerway.yaml:"), "{index}: {detail}");
        send_across(&mut client, &mut server, 1000);
    }
    let config = proxy.config();
    assert_eq!((&config["generation"], &config["drift"]), (&1.into(), &true.into()));
    let last = &config["last_attempt"];
    assert_eq!((&last["result"], &last["errors"][0]["path"]), (&"rejected".into(), &"max_connections".into()));
    let scrape = proxy.scrape();
    assert_eq!(scrape.get("peerway_config_reloads_total{result=\"rejected\"}"), bad.len() as f64);
    assert_eq!(scrape.get("peerway_config_last_reload_success"), 0.0);
    assert_eq!(scrape.get("peerway_config_drift"), 1.0);
    assert_eq!(scrape.get("peerway_config_generation"), 1.0);
    proxy.logs("configuration rejected; the one in force stays");
    proxy.session(&backend);
    proxy.change_to(&good);
    assert_eq!(proxy.metric("peerway_config_drift"), 0.0);
}

#[test]
fn a_port_in_use_rejects_the_whole() {
    let (backend, taken) = (Backend::new(), Backend::new());
    let proxy = proxy(&[backend.address()]);
    let free = crate::support::free_port();
    let yaml = file(&[backend.address()], ", timeouts: { idle: 1s }", "").replace(
        "pools:",
        &format!(
            "  a: {{ bind: '127.0.0.1:{free}', pool: back }}\n  b: {{ bind: '{}', pool: back }}\npools:",
            taken.address()
        ),
    );
    let detail = proxy.refuses(&yaml);
    assert!(detail.contains("listeners.b") && detail.contains("in use"), "{detail}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", free)).is_err(), "what could be bound was given up again");
    assert_eq!(proxy.config()["config"]["listeners"]["front"]["timeouts"]["idle"], "1h");
    proxy.session(&backend);
}

#[test]
fn an_access_log_that_cannot_be_opened_rejects_the_whole() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let yaml = format!("log: {{ access: {{ to: /no/such/folder/x }} }}\n{}", file(&[backend.address()], "", ""));
    let detail = proxy.refuses(&yaml);
    assert!(detail.contains("/no/such/folder/x"), "{detail}");
    proxy.session(&backend);
}

#[test]
fn a_congestion_control_that_the_kernel_lacks_rejects_the_whole() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let wanted = "congestion_control: no_such_thing";
    let yaml = file(&[backend.address()], &format!(", tcp: {{ {wanted} }}"), "");
    let detail = proxy.refuses(&yaml);
    let place = "listeners.front.tcp.congestion_control: ";
    assert!(detail.contains(place) && detail.contains("tcp_available_congestion_control"), "{detail}");
    let pool = file(&[backend.address()], "", "").replace("back: { ", &format!("back: {{ tcp: {{ {wanted} }}, "));
    assert!(proxy.refuses(&pool).contains("pools.back.tcp.congestion_control: "));
    proxy.session(&backend);
}

/// A FIFO has no end until someone has written to it: a reload that waited for that would be the last one.
#[test]
fn a_fifo_where_a_file_should_be_holds_up_nobody() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let fifo = proxy.dir().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let good = file(&[backend.address()], "", "");
    let tls = file(&[backend.address()], ", tls: { certificates: { cert: fifo, key: fifo } }", "");
    for bad in [tls, format!("include: fifo\n{good}")] {
        let detail = proxy.refuses(&bad);
        assert!(detail.contains("is not a regular file"), "{detail}");
    }
    std::fs::rename(&fifo, proxy.file()).unwrap();
    let answer = proxy.reload();
    assert!((400..500).contains(&answer.status) && answer.body.contains("is not a regular file"), "{}", answer.body);
    proxy.change_to(&file(&[backend.address()], ", relay: copy", ""));
    proxy.session(&backend);
}

#[test]
fn what_needs_a_restart_is_named() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let good = file(&[backend.address()], "", "");
    let yaml = format!("workers: {{ threads: 3 }}\nmetrics: {{ listen: 127.0.0.1:0 }}\n{good}");
    assert_eq!(proxy.refuses(&yaml), "needs restart: metrics.listen, workers");
    proxy.write(&yaml.replace("127.0.0.1:0 }\nreload", "127.0.0.1:0, protect: writes }\nreload"));
    let (code, _, said) = proxy.said(&["reload"]);
    assert_eq!((code, said.trim()), (Some(1), "needs restart: metrics.listen, workers"));
    assert_eq!(proxy.config()["last_attempt"]["needs_restart"], serde_json::json!(["metrics.listen", "workers"]));
}

#[test]
fn the_command_says_how_it_went_and_exits_so() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    assert_eq!(proxy.said(&["reload"]), (Some(0), "generation 2: nothing changed\n".into(), String::new()));
    proxy.write(&file(&[backend.address()], ", relay: copy", ""));
    assert_eq!(proxy.said(&["reload"]), (Some(0), "generation 3: 1 change\n".into(), String::new()));
    proxy.write("listeners: [");
    let (code, out, error) = proxy.said(&["reload"]);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert!(error.contains("peerway.yaml:1:"), "{error}");
    let (code, table, _) = proxy.said(&["history"]);
    assert_eq!(code, Some(0));
    let results: Vec<_> = table.lines().map(|line| line.split_whitespace().nth(2).unwrap_or("").to_owned()).collect();
    assert_eq!(results, ["RESULT", "rejected", "ok", "ok", "ok"], "{table}");
    let dead = crate::support::binary();
    let dead = std::process::Command::new(dead).args(["reload", "--admin", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(dead.status.code(), Some(1));
}

#[test]
fn a_process_that_was_not_started_from_a_file_says_so() {
    // The demo has no file; its endpoint is where others are too, so only the words of one are looked at here.
    let proxy = Setup::file(format!(
        "{TOP}listeners: {{ a: {{ bind: '127.0.0.1:0', pool: b }} }}\npools: {{ b: {{ backends: '127.0.0.1:1' }} }}\n"
    ))
    .start();
    let answer = proxy.admin().ask("POST", "/api/v1/reload?gard=5s", "");
    assert_eq!(answer.status, 400, "{}", answer.body);
    let answer = proxy.admin().ask("POST", "/api/v1/reload?guard=5", "");
    assert!(answer.status == 400 && answer.body.contains("unit"), "{}", answer.body);
}
