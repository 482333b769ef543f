//! The proxies, each as its users run it: one worker, an access log in a file, metrics, health checks and idle timers.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::measure;

/// How a proxy is configured and started.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// The variable that names its program, and the program otherwise.
    program: (&'static str, &'static str),
    version: &'static [&'static str],
    /// What is on, in words.
    pub features: &'static str,
    file: &'static str,
    config: fn(&Places) -> String,
    arguments: fn(&Path) -> Vec<String>,
}

/// Where things are.
pub struct Places {
    listen: SocketAddr,
    backend: SocketAddr,
    admin: SocketAddr,
    dir: String,
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "peerway",
        program: ("PEERWAY", "peerway"),
        version: &["--version"],
        features: "one worker; access log to a file; metrics; TCP probe every 2 s; idle timers",
        file: "peerway.yaml",
        config: |at| {
            format!(
                "workers: {{ threads: 1 }}\nadmin: {{ listen: '{}' }}\nlog: {{ access: {{ to: {}/access.log }} }}\n\
                 listeners: {{ front: {{ bind: '{}', pool: back, timeouts: {{ idle: 1h }} }} }}\n\
                 pools: {{ back: {{ backends: '{}', health: {{ probe: tcp }} }} }}\n",
                at.admin, at.dir, at.listen, at.backend
            )
        },
        arguments: |file| vec!["run".into(), "-c".into(), file.display().to_string()],
    },
    Kind {
        name: "haproxy",
        program: ("HAPROXY", "haproxy"),
        version: &["-v"],
        features: "one thread; option splice-auto; option tcplog through a pipe to a file; Prometheus exporter where it \
                   is built in; TCP check every 2 s; timeouts",
        file: "haproxy.cfg",
        config: |at| {
            format!(
                "global\n  nbthread 1\n  maxconn 6000\n  maxpipes 1000\n  log stdout format raw local0\n\
                 defaults\n  mode tcp\n  log global\n  option tcplog\n  option splice-auto\n  timeout connect 2s\n  \
                 timeout client 1h\n  timeout server 1h\n\
                 frontend front\n  bind {}\n  default_backend back\n\
                 backend back\n  server one {} check inter 2s\n",
                at.listen, at.backend
            )
        },
        arguments: |file| vec!["-db".into(), "-f".into(), file.display().to_string()],
    },
    Kind {
        name: "nginx",
        program: ("NGINX", "nginx"),
        version: &["-v"],
        features: "one worker process; access log to a file; passive health; timeouts",
        file: "nginx.conf",
        config: |at| {
            let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
            let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
            format!(
                "{load}daemon off; worker_processes 1; worker_rlimit_nofile 19000; pid {dir}/pid; error_log {dir}/error.log;\n\
                 events {{ worker_connections 18000; }}\n\
                 stream {{ log_format line '$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received $session_time';\n\
                 access_log {dir}/access.log line buffer=64k flush=1s; proxy_timeout 1h; proxy_connect_timeout 2s; tcp_nodelay on;\n\
                 upstream back {{ server {backend}; }}\n\
                 server {{ listen {listen} backlog=4096; proxy_pass back; }} }}\n",
                dir = at.dir,
                backend = at.backend,
                listen = at.listen
            )
        },
        arguments: |file| vec!["-c".into(), file.display().to_string(), "-e".into(), "stderr".into()],
    },
    Kind {
        name: "envoy",
        program: ("ENVOY", "envoy"),
        version: &["--version"],
        features: "concurrency 1; access log to a file; admin with metrics; TCP health check every 2 s; idle timeout",
        file: "envoy.yaml",
        config: |at| {
            let socket = |address: SocketAddr| {
                format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", address.ip(), address.port())
            };
            format!(
                r#"admin: {{ address: {admin} }}
static_resources:
  listeners:
    - name: front
      address: {listen}
      tcp_backlog_size: 4096
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: front
                cluster: back
                idle_timeout: 3600s
                access_log:
                  - name: envoy.access_loggers.file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: {dir}/access.log
  clusters:
    - name: back
      connect_timeout: 2s
      type: STATIC
      circuit_breakers: {{ thresholds: [ {{ max_connections: 20000, max_pending_requests: 20000 }} ] }}
      health_checks: [ {{ timeout: 1s, interval: 2s, unhealthy_threshold: 3, healthy_threshold: 2, tcp_health_check: {{}} }} ]
      load_assignment:
        cluster_name: back
        endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {backend} }} }} ] }} ]
"#,
                admin = socket(at.admin),
                listen = socket(at.listen),
                backend = socket(at.backend),
                dir = at.dir
            )
        },
        arguments: |file| {
            ["-c", &file.display().to_string(), "--concurrency", "1", "-l", "warn"].map(str::to_owned).into()
        },
    },
    Kind {
        name: "traefik",
        program: ("TRAEFIK", "traefik"),
        version: &["version"],
        features: "GOMAXPROCS=1; metrics; TCP health check every 2 s; it has no access log for TCP",
        file: "traefik.yaml",
        config: |at| {
            let dynamic = format!("{}/dynamic.yaml", at.dir);
            let text = format!(
                "tcp:\n  routers: {{ front: {{ entryPoints: [front], rule: 'HostSNI(`*`)', service: back }} }}\n  services:\n    \
                 back: {{ loadBalancer: {{ servers: [ {{ address: '{}' }} ] }} }}\n",
                at.backend
            );
            fs::write(&dynamic, text).expect("a file");
            format!(
                "entryPoints: {{ front: {{ address: '{}' }}, admin: {{ address: '{}' }} }}\n\
                 providers: {{ file: {{ filename: '{dynamic}' }} }}\nmetrics: {{ prometheus: {{ entryPoint: admin }} }}\n\
                 log: {{ level: ERROR }}\nglobal: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n",
                at.listen, at.admin
            )
        },
        arguments: |file| vec![format!("--configFile={}", file.display())],
    },
];

/// One that runs; it is ended when it is dropped.
pub struct Proxy {
    pub kind: &'static Kind,
    pub address: SocketAddr,
    pub version: String,
    child: Child,
    places: Places,
    dir: TempDir,
}

impl Proxy {
    /// Starts one in front of `backend`, and waits until it accepts.
    pub fn start(kind: &'static Kind, backend: SocketAddr) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let places = Places { listen: free(), backend, admin: free(), dir: dir.path().display().to_string() };
        fs::write(dir.path().join(kind.file), (kind.config)(&places))?;
        let version = Command::new(kind.program()).args(kind.version).output()?;
        let said = [version.stdout, version.stderr].concat();
        let said =
            String::from_utf8_lossy(&said).lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim().into();
        let child = kind.spawn(dir.path())?;
        let mut proxy = Self { kind, address: places.listen, version: said, child, places, dir };
        proxy.wait()?;
        Ok(proxy)
    }

    pub fn name(&self) -> &'static str {
        self.kind.name
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and starts it anew; gives the time until it accepts.
    pub fn restart(&mut self) -> io::Result<Duration> {
        self.end();
        // What it accepted may keep its port for a moment.
        self.places.listen = free();
        self.address = self.places.listen;
        fs::write(self.dir.path().join(self.kind.file), (self.kind.config)(&self.places))?;
        let began = Instant::now();
        self.child = self.kind.spawn(self.dir.path())?;
        self.wait()?;
        Ok(began.elapsed())
    }

    fn wait(&mut self) -> io::Result<()> {
        let by = Instant::now() + Duration::from_secs(20);
        while Instant::now() < by {
            if TcpStream::connect(self.address).is_ok() {
                // Its first probe may be all it waits for.
                if crate::client::hold(self.address, 1).is_ok() {
                    return Ok(());
                }
            }
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
                return Err(io::Error::other(format!("it ended ({status}): {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::Error::other("it does not accept"))
    }

    fn end(&mut self) {
        for id in measure::family(self.child.id()).into_iter().rev() {
            if let Some(id) = rustix::process::Pid::from_raw(id as i32) {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

impl Kind {
    fn program(&self) -> PathBuf {
        let (variable, name) = self.program;
        std::env::var_os(variable).map_or_else(|| name.into(), PathBuf::from)
    }

    fn spawn(&self, dir: &Path) -> io::Result<Child> {
        let file = dir.join(self.file);
        // A new process runs where its parent does.
        measure::pin(measure::PROXY_CPU);
        let child = Command::new(self.program())
            .args((self.arguments)(&file))
            .current_dir(dir)
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::null())
            .stdout(File::create(dir.join("stdout"))?)
            .stderr(File::create(dir.join("stderr"))?)
            .spawn();
        measure::pin(measure::LOAD_CPU);
        child
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}
