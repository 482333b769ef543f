use std::net::SocketAddr;

use super::{Kind, Places, each};
use crate::certificates::NAME;
use crate::shape::Tls;

pub const KIND: Kind = Kind {
    name: "envoy",
    program: ("ENVOY", "envoy"),
    version: &["--version"],
    features: "access log to a file; admin with metrics; TCP health check of each endpoint; idle timeout",
    file: "envoy.yaml",
    config,
    arguments: |file| {
        ["-c", &file.display().to_string(), "-l", "warn", "--disable-hot-restart"].map(str::to_owned).into()
    },
};

fn socket(address: SocketAddr) -> String {
    format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", address.ip(), address.port())
}

fn config(at: &Places) -> String {
    let listeners = each(&at.listens, |index, listen| {
        format!(
            r#"    - name: front{index}
      address: {listen}
      tcp_backlog_size: 4096
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: front{index}
                cluster: back
                idle_timeout: 3600s
                access_log:
                  - name: envoy.access_loggers.file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: {dir}/access.log
{tls}"#,
            listen = socket(*listen),
            dir = at.dir,
            tls = downstream(at),
        )
    });
    let endpoints =
        each(&at.backends, |_, backend| format!("            - {{ endpoint: {{ address: {} }} }}\n", socket(*backend)));
    format!(
        r#"admin: {{ address: {admin} }}
static_resources:
  listeners:
{listeners}  clusters:
    - name: back
      connect_timeout: 2s
      type: STATIC
      lb_policy: ROUND_ROBIN
      circuit_breakers: {{ thresholds: [ {{ max_connections: 20000, max_pending_requests: 20000 }} ] }}
      health_checks: [ {{ timeout: 1s, interval: {probe}s, unhealthy_threshold: 3, healthy_threshold: 2, tcp_health_check: {{}} }} ]
{onward}      load_assignment:
        cluster_name: back
        endpoints:
        - lb_endpoints:
{endpoints}"#,
        admin = socket(at.admin),
        probe = at.shape.probe_secs,
        onward = upstream(at),
    )
}

fn downstream(at: &Places) -> String {
    if at.shape.tls == Tls::Off {
        return String::new();
    }
    format!(
        r#"          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
                tls_certificates: [ {{ certificate_chain: {{ filename: {} }}, private_key: {{ filename: {} }} }} ]
"#,
        at.files.certificate, at.files.key
    )
}

fn upstream(at: &Places) -> String {
    if at.shape.tls != Tls::Both {
        return String::new();
    }
    format!(
        r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: {NAME}
          common_tls_context:
            tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
            validation_context:
              trusted_ca: {{ filename: {} }}
              match_typed_subject_alt_names: [ {{ san_type: DNS, matcher: {{ exact: {NAME} }} }} ]
"#,
        at.files.authority
    )
}
