use std::path::Path;

use super::{Kind, Places, each};
use crate::certificates::NAME;
use crate::shape::Tls;

pub const KIND: Kind = Kind {
    name: "nginx",
    program: ("NGINX", "nginx"),
    version: &["-v"],
    features: "access log to a file; passive health; timeouts; half-closed connections",
    file: "nginx.conf",
    config,
    arguments: |file| vec!["-c".into(), file.display().to_string(), "-e".into(), "stderr".into()],
};

fn config(at: &Places) -> String {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let (ssl, certificate) = match at.shape.tls {
        Tls::Off => ("", String::new()),
        _ => (
            " ssl",
            format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;\n",
                at.files.certificate, at.files.key
            ),
        ),
    };
    let onward = match at.shape.tls {
        Tls::Both => format!(
            "proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_name {NAME}; proxy_ssl_server_name on;\n\
             proxy_ssl_verify on; proxy_ssl_trusted_certificate {};\n",
            at.files.authority
        ),
        _ => String::new(),
    };
    let servers =
        each(&at.listens, |_, listen| format!("server {{ listen {listen}{ssl} backlog=4096; proxy_pass back; }}\n"));
    let backends = each(&at.backends, |_, backend| format!("server {backend}; "));
    // `proxy_half_close` is off by default, which saves calls but cuts off the answer to whoever has finished asking.
    // HAProxy, Envoy and Peerway deliver it, and Traefik does if it comes within 100 ms.
    format!(
        "{load}daemon off; worker_processes {workers}; worker_rlimit_nofile 19900; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{ worker_connections 19500; }}\n\
         stream {{ log_format line '$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received $session_time';\n\
         access_log {dir}/access.log line buffer=64k flush=1s; proxy_timeout 1h; proxy_connect_timeout 2s; tcp_nodelay on; \
         proxy_half_close on;\n\
         {certificate}{onward}upstream back {{ {backends}}}\n{servers}}}\n",
        workers = at.shape.workers,
        dir = at.dir,
    )
}
