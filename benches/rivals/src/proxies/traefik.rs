use std::fs;

use super::{Kind, Places, each};
use crate::certificates::NAME;
use crate::shape::Tls;

pub const KIND: Kind = Kind {
    name: "traefik",
    program: ("TRAEFIK", "traefik"),
    version: &["version"],
    features: "metrics; TCP health check of each server; it has no access log for TCP",
    file: "traefik.yaml",
    config,
    arguments: |file| vec![format!("--configFile={}", file.display())],
};

fn config(at: &Places) -> String {
    let path = format!("{}/dynamic.yaml", at.dir);
    // What cannot be written is seen when it starts.
    let _ = fs::write(&path, dynamic(at));
    let entries = each(&at.listens, |index, listen| format!("  front{index}: {{ address: '{listen}' }}\n"));
    format!(
        "entryPoints:\n  admin: {{ address: '{}' }}\n{entries}providers: {{ file: {{ filename: '{path}' }} }}\n\
         metrics: {{ prometheus: {{ entryPoint: admin }} }}\nlog: {{ level: ERROR }}\n\
         global: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n",
        at.admin
    )
}

/// Routers and services; these come from a provider.
fn dynamic(at: &Places) -> String {
    let (router, certificates) = match at.shape.tls {
        Tls::Off => ("", String::new()),
        _ => {
            let files = format!("certFile: '{}', keyFile: '{}'", at.files.certificate, at.files.key);
            let default = format!("stores: {{ default: {{ defaultCertificate: {{ {files} }} }} }}");
            let options = "options: { default: { minVersion: VersionTLS13 } }";
            (", tls: {}", format!("tls:\n  certificates: [ {{ {files} }} ]\n  {default}\n  {options}\n"))
        }
    };
    let (server, service, transport) = match at.shape.tls {
        Tls::Both => (
            ", tls: true",
            "        serversTransport: back\n",
            format!(
                "  serversTransports: {{ back: {{ tls: {{ serverName: {NAME}, rootCAs: ['{}'] }} }} }}\n",
                at.files.authority
            ),
        ),
        _ => ("", "", String::new()),
    };
    let fronts = each(&at.listens, |index, _| format!("front{index}, "));
    let servers = each(&at.backends, |_, backend| format!("          - {{ address: '{backend}'{server} }}\n"));
    format!(
        "tcp:\n  routers:\n    front: {{ entryPoints: [{}], rule: 'HostSNI(`*`)', service: back{router} }}\n  services:\n    \
         back:\n      loadBalancer:\n{service}        healthCheck: {{ interval: {}s, timeout: 1s }}\n        servers:\n{servers}{transport}{certificates}",
        fronts.trim_end_matches(", "),
        at.shape.probe_secs
    )
}
