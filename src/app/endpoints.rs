//! The endpoints for people and tools: bound, and offered to a process that takes over.

use std::io;
use std::os::fd::OwnedFd;

use super::StartError;
use super::upgrade::{EndpointOffer, Estate};
use crate::admin::Endpoint;
use crate::config::plan::Plan;

pub(super) fn bind_endpoints(plan: &Plan, estate: &mut Estate) -> Result<Vec<Endpoint>, StartError> {
    let mut given = |name| estate.endpoint(name, &listens(plan, name)?);
    let admin = plan.admin.as_ref().map(|admin| Endpoint::admin(admin, given("admin")));
    let metrics = plan.metrics.as_ref().and_then(|metrics| metrics.listen);
    let metrics = metrics.map(|listen| Endpoint::metrics(listen, given("metrics")));
    admin.into_iter().chain(metrics).collect::<Result<_, _>>().map_err(StartError::Endpoint)
}

/// Where an endpoint is to listen.
pub(super) fn listens(plan: &Plan, endpoint: &str) -> Option<String> {
    match endpoint {
        "admin" => plan.admin.as_ref().map(|admin| admin.listen.to_string()),
        _ => plan.metrics.as_ref().and_then(|metrics| metrics.listen).map(|listen| listen.to_string()),
    }
}

/// The endpoints' sockets once more, for a process that takes over.
pub(super) fn offers(plan: &Plan, endpoints: &[Endpoint]) -> io::Result<Vec<(EndpointOffer, OwnedFd)>> {
    let offer = |endpoint: &Endpoint| {
        let configured = listens(plan, endpoint.name()).unwrap_or_default();
        let (name, foreign) = (endpoint.name().to_owned(), endpoint.is_foreign());
        Ok((EndpointOffer { name, configured, foreign }, endpoint.socket()?))
    };
    endpoints.iter().map(offer).collect()
}
