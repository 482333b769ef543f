//! `accept_proxy`: whose word is taken on who the client is.

use super::super::plan::{AcceptProxy, Bind, BindAddress, Others};
use super::super::scalar;
use super::super::section::{Section, is_word, word};
use super::Decoder;

impl<'a> Decoder<'a, '_> {
    pub(super) fn accept_proxy(&mut self, listener: &Section<'a>, binds: &[Bind]) -> Option<AcceptProxy> {
        listener.find("accept_proxy").filter(|_| !listener.is_off("accept_proxy"))?;
        let section = listener.section("accept_proxy");
        self.require(&section, "from");
        let words = [("refuse", Others::Refuse), ("plain", Others::Plain)];
        let mut settings = AcceptProxy {
            from: Vec::new(),
            from_unix: false,
            others: section.read("others", word(&words)).unwrap_or(Others::Refuse),
            timeout: section.value("timeout", scalar::duration),
        };
        self.from(&section, &mut settings, binds);
        Some(settings)
    }

    fn from(&mut self, section: &Section<'a>, settings: &mut AcceptProxy, binds: &[Bind]) {
        let Some(found) = section.find("from") else { return };
        for (item, path) in found.node.items_at(&found.path) {
            if is_word(item, &["unix"]) {
                settings.from_unix = true;
            } else if let Ok(network) = scalar::network(item) {
                if settings.from.contains(&network) {
                    self.report.error(item.at, &path, format!("`{network}` is in the list already"));
                }
                settings.from.push(network);
            } else {
                return; // reported already, and what it would have been is not known
            }
        }
        if settings.from.is_empty() && !settings.from_unix {
            let message = "expected at least one network, such as `10.0.0.0/8`, or `unix`; for no headers at all, write \
                           `accept_proxy: off`";
            return self.report.error(found.node.at, &found.path, message);
        }
        let unix = |bind: &Bind| matches!(bind.address, BindAddress::Unix(..));
        if !settings.from_unix && settings.others == Others::Refuse && !binds.is_empty() && binds.iter().all(unix) {
            let message = "this listener has unix sockets alone, and nobody there has an address: to take headers from \
                           them, add `unix`";
            self.report.error(found.node.at, &found.path, message);
        }
    }
}
