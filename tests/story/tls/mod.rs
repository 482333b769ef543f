//! TLS that ends at a listener: what is inside goes on, what is not TLS does not, and files may change at any time.

mod admin;
mod backends;
mod cancel;
mod clients;
mod ends;
mod files;
mod handshakes;

pub(crate) use backends::Bridge;

use crate::support::pki::Authority;
use crate::support::{Address, Proxy, Setup, certify};

const NAME: &str = "a.example";

/// A listener with a certificate for [`NAME`], in `a.pem` and `a.key`, by an authority of its own.
struct Site {
    authority: Authority,
    setup: Setup,
}

impl Site {
    fn to(backend: impl Address) -> Self {
        let site = Self { authority: Authority::new("authority"), setup: Setup::to([backend]) };
        site.certify("a", &[NAME]);
        site.write("ca.pem", site.authority.pem());
        site
    }

    fn certify(&self, file: &str, names: &[&str]) {
        certify(&self.authority, self.setup.dir(), file, names);
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.setup.dir().join(name), content).unwrap();
    }

    fn listener(self, line: &str) -> Self {
        Self { setup: self.setup.listener(line), ..self }
    }

    /// Starts it, with more keys of `tls`.
    #[track_caller]
    fn start(self, more: &str) -> (Proxy, Authority) {
        let tls = format!("tls: {{ certificates: {{ cert: a.pem, key: a.key }}{more} }}");
        (self.setup.listener(&tls).start(), self.authority)
    }
}

/// Handshakes that have ended so.
fn handshakes(result: &str) -> String {
    format!("peerway_tls_handshakes_total{{listener=\"front\",result=\"{result}\"}}")
}
