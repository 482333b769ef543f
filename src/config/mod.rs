//! Configuration: files in, a [`plan::Plan`] or every error at once out.

pub mod plan;

/// The names that `balance` fills in.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue {
    /// Every policy.
    pub policies: &'static [PolicyKind],
}

/// One policy as the configuration names it.
#[derive(Debug, Clone, Copy)]
pub struct PolicyKind {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
}
