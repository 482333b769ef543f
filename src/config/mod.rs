//! Configuration: files in, a [`plan::Plan`] or every error at once out.

pub mod plan;
