use super::{Kind, Places, each};
use crate::certificates::NAME;
use crate::shape::Tls;

pub const KIND: Kind = Kind {
    name: "haproxy",
    program: ("HAPROXY", "haproxy"),
    version: &["-v"],
    features: "option splice-auto; option tcplog through a pipe to a file; its own counters; TCP check of each server; timeouts",
    file: "haproxy.cfg",
    config,
    arguments: |file| vec!["-db".into(), "-f".into(), file.display().to_string()],
};

fn config(at: &Places) -> String {
    let tls = match at.shape.tls {
        Tls::Off => String::new(),
        _ => format!(" ssl crt {} ssl-min-ver TLSv1.3", at.files.both),
    };
    let onward = match at.shape.tls {
        Tls::Both => {
            format!(
                " ssl verify required ca-file {} sni str({NAME}) verifyhost {NAME} ssl-min-ver TLSv1.3",
                at.files.authority
            )
        }
        _ => String::new(),
    };
    let fronts = each(&at.listens, |index, listen| {
        format!("frontend front{index}\n  bind {listen} backlog 4096{tls}\n  default_backend back\n")
    });
    let inter = at.shape.probe_secs;
    let servers =
        each(&at.backends, |index, backend| format!("  server s{index} {backend} check inter {inter}s{onward}\n"));
    format!(
        "global\n  nbthread {}\n  maxconn 8300\n  maxpipes 300\n  log stdout format raw local0\n\
         defaults\n  mode tcp\n  maxconn 8300\n  log global\n  option tcplog\n  option splice-auto\n  timeout connect 2s\n  \
         timeout client 1h\n  timeout server 1h\n{fronts}backend back\n  balance roundrobin\n{servers}",
        at.shape.workers
    )
}
