//! A proxy that runs.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Kind, Places};
use crate::backend::address;
use crate::client::Target;
use crate::measure;
use crate::shape::{Shape, Tls};
use crate::site::Site;

/// A program that runs the proxy's, with its arguments.
type Prefix = Vec<String>;

/// It is ended when this is dropped.
pub struct Proxy {
    pub kind: &'static Kind,
    pub target: Target,
    pub version: String,
    pub dir: TempDir,
    prefix: Prefix,
    child: Child,
    places: Places,
    site: Arc<Site>,
}

impl Proxy {
    /// Starts one, below the program that `prefix` names if it names any, and waits until it accepts.
    pub fn start(kind: &'static Kind, shape: Shape, site: &Arc<Site>, prefix: Prefix) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("rivals-").tempdir()?;
        site.leftovers.folder(dir.path());
        let backends = match shape.tls {
            Tls::Both => vec![site.secure_backend],
            _ => site.backends.iter().copied().take(shape.backends).collect(),
        };
        let places = Places {
            shape,
            listens: listens(shape.listeners)?,
            backends,
            admin: free([127, 0, 0, 1].into())?,
            dir: dir.path().display().to_string(),
            files: site.certificates.files.clone(),
        };
        let version = version(kind)?;
        let tls = (shape.tls != Tls::Off).then(|| site.certificates.client.clone());
        let target = Target { addresses: places.listens.clone(), tls };
        let child = spawn(kind, &places, &prefix, dir.path(), site)?;
        // From here on dropping it ends it.
        let mut proxy = Self { kind, target, version, dir, prefix, child, places, site: site.clone() };
        proxy.wait()?;
        Ok(proxy)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and starts it anew; gives the time until it accepts.
    pub fn restart(&mut self) -> io::Result<Duration> {
        self.site.leftovers.end(&mut self.child);
        // What it accepted may keep its port for a moment.
        self.places.listens = listens(self.places.shape.listeners)?;
        self.target.addresses = self.places.listens.clone();
        let began = Instant::now();
        self.child = spawn(self.kind, &self.places, &self.prefix, self.dir.path(), &self.site)?;
        self.wait()?;
        Ok(began.elapsed())
    }

    /// What became of it, if it has ended.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("it has ended ({status}), and said: {}", self.last_words())),
            Err(error) => Some(error.to_string()),
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let patience = if self.prefix.is_empty() { Duration::from_secs(20) } else { Duration::from_secs(120) };
        let by = Instant::now() + patience;
        let (mut asked, mut error) = (Duration::from_millis(100), None);
        while Instant::now() < by {
            // Some accept before they know where to.
            match self.target.hold(1, asked) {
                Ok(_) => return Ok(()),
                Err(refused) => error = Some(refused),
            }
            if let Some(how) = self.ended() {
                return Err(io::Error::other(how));
            }
            asked = (asked * 5 / 4).min(Duration::from_secs(1));
            std::thread::sleep(Duration::from_millis(2));
        }
        let why = error.map_or_else(|| "-".into(), |error| error.to_string());
        Err(io::Error::other(format!("it serves nobody ({why}), and said: {}", self.last_words())))
    }

    /// The end of what it has written to its standard error, in one line.
    fn last_words(&self) -> String {
        let said = fs::read(self.dir.path().join("stderr")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said[said.len().saturating_sub(600)..]).trim().replace('\n', " | ");
        if said.is_empty() { "nothing".into() } else { said }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.site.leftovers.end(&mut self.child);
        self.site.leftovers.forget_folder(self.dir.path());
    }
}

fn version(kind: &Kind) -> io::Result<String> {
    let said = Command::new(kind.program()).args(kind.version).stdin(Stdio::null()).output()?;
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
    // Some name themselves as they were called.
    Ok(line.replace(&kind.program().display().to_string(), kind.name))
}

fn spawn(kind: &Kind, places: &Places, prefix: &[String], dir: &Path, site: &Site) -> io::Result<Child> {
    let file = dir.join(kind.file);
    fs::write(&file, (kind.config)(places))?;
    let workers = places.shape.workers.to_string();
    let mut words: Vec<PathBuf> = orphans_end().iter().chain(prefix).map(PathBuf::from).collect();
    words.push(kind.program());
    words.extend((kind.arguments)(&file).into_iter().map(PathBuf::from));
    if kind.name == "envoy" {
        words.extend(["--concurrency", &workers].map(PathBuf::from));
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(dir).env("GOMAXPROCS", &workers).stdin(Stdio::null());
    command.stdout(File::create(dir.join("stdout"))?).stderr(File::create(dir.join("stderr"))?);
    // A new process runs where its parent does.
    measure::pin(measure::PROXY_CPU);
    let child = site.leftovers.child(|| command.spawn());
    measure::pin(measure::LOAD_CPU);
    child
}

/// What has a program ended when this one is killed, where there is such a thing.
fn orphans_end() -> Vec<String> {
    let there = Path::new("/usr/bin/setpriv").exists();
    let words: &[&str] = if there { &["/usr/bin/setpriv", "--pdeathsig", "TERM"] } else { &[] };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Free addresses.
fn listens(count: usize) -> io::Result<Vec<SocketAddr>> {
    (0..count).map(|nth| free(if count == 1 { [127, 0, 0, 1].into() } else { address(3, nth) })).collect()
}

fn free(ip: std::net::Ipv4Addr) -> io::Result<SocketAddr> {
    TcpListener::bind((ip, 0))?.local_addr()
}
