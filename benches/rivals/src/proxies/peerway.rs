use super::{Kind, Places, each};
use crate::certificates::NAME;
use crate::shape::Tls;

pub const KIND: Kind = Kind {
    name: super::OURS,
    program: ("PEERWAY", "peerway"),
    version: &["--version"],
    features: "access log to a file; metrics; TCP probe of each backend; idle timers",
    file: "peerway.yaml",
    config,
    arguments: |file| vec!["run".into(), "-c".into(), file.display().to_string()],
};

fn config(at: &Places) -> String {
    let tls = match at.shape.tls {
        Tls::Off => String::new(),
        _ => format!(", tls: {{ certificates: {{ cert: {}, key: {} }} }}", at.files.certificate, at.files.key),
    };
    let listeners = each(&at.listens, |index, listen| {
        format!("  front{index}: {{ bind: '{listen}', pool: back, timeouts: {{ idle: 1h }}{tls} }}\n")
    });
    let backends = each(&at.backends, |_, backend| format!("      - '{backend}'\n"));
    let onward = match at.shape.tls {
        Tls::Both => format!("    tls: {{ server_name: {NAME}, ca: {} }}\n", at.files.authority),
        _ => String::new(),
    };
    let busy_poll = at.shape.busy_poll.map(|span| format!(", busy_poll: {span}")).unwrap_or_default();
    format!(
        "workers: {{ threads: {}{busy_poll} }}\nadmin: {{ listen: '{}' }}\nlog: {{ access: {{ to: {}/access.log }} }}\n\
         listeners:\n{listeners}pools:\n  back:\n    policy: {}\n    health: {{ probe: tcp, interval: {}s }}\n{onward}    backends:\n{backends}",
        at.shape.workers, at.admin, at.dir, at.shape.policy, at.shape.probe_secs
    )
}
