//! `tls`: it completes a TLS handshake. Whose certificate it shows is not asked.

use super::{Checking, Line, Probe};
use crate::tls;

/// See the module.
#[derive(Debug)]
pub(super) struct Tls(pub(super) tls::Client);

impl Probe for Tls {
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a> {
        Box::pin(async move {
            let host = line.address().to_owned();
            line.secure(&self.0, &host).await
        })
    }
}

#[cfg(test)]
mod tests;
