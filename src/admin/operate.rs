//! What operators say of backends: drain, enable, weight, and taking it back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use serde::Serialize;

use super::State;
use super::answer::{self, Answer, Refusal};
use super::api::OverrideView;
use super::query::{Query, decode};
use crate::config::duration;
use crate::pool::{Pool, Say};

/// What can be said in a path below `/api/v1/pools/{pool}/backends/{backend}/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Drain,
    Enable,
    Weight,
    /// With DELETE: forget all that was said.
    Override,
}

impl Word {
    pub(super) const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Drain => &["within"],
            Self::Weight => &["value"],
            Self::Enable | Self::Override => &[],
        }
    }
}

/// A backend as a path names it; each part is percent-decoded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) pool: &'a str,
    pub(super) backend: &'a str,
    pub(super) word: Word,
}

/// Splits the path behind `/api/v1/pools/`.
pub(super) fn locate(rest: &str) -> Option<Named<'_>> {
    let mut parts = rest.split('/');
    let (pool, backends, backend, word) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let word = match word {
        "drain" => Word::Drain,
        "enable" => Word::Enable,
        "weight" => Word::Weight,
        "override" => Word::Override,
        _ => return None,
    };
    (backends == "backends" && parts.next().is_none()).then_some(Named { pool, backend, word })
}

/// What the backend's override is now.
#[derive(Serialize)]
struct Said {
    pool: String,
    backend: String,
    #[serde(rename = "override")]
    overridden: Option<OverrideView>,
}

/// `POST …/drain?within=5m`, `…/enable`, `…/weight?value=5`, `DELETE …/override`
pub(super) async fn say(state: &State, named: Named<'_>, query: &Query) -> Result<Answer, Refusal> {
    let (pool_name, backend) =
        (decode(named.pool).map_err(Refusal::bad)?, decode(named.backend).map_err(Refusal::bad)?);
    let unknown = |what: String| Refusal::new(StatusCode::NOT_FOUND, what);
    let pool = state.live.load().pools.get(&*pool_name).cloned();
    let has_it = |pool: &Arc<Pool>| pool.snapshot().members.iter().any(|member| *member.backend.name == *backend);
    // What was said of a backend, or a pool, that is gone can still be taken back.
    let takes_back = named.word == Word::Override && state.overrides.of(&pool_name, &backend).is_some();
    match &pool {
        Some(pool) if has_it(pool) => {}
        _ if takes_back => {}
        Some(_) => return Err(unknown(format!("pool {pool_name:?} has no backend {backend:?}"))),
        None => return Err(unknown(format!("there is no pool {pool_name:?}"))),
    }
    let say = meaning(named.word, query).map_err(Refusal::bad)?;
    let (overrides, names) = (state.overrides.clone(), (pool_name.clone(), backend.clone()));
    // The disk may be slow, and nobody else shall wait for it.
    let said = tokio::task::spawn_blocking(move || overrides.say(&names.0, &names.1, say, SystemTime::now())).await;
    let failed = |error: String| {
        let words = format!("the state file cannot be written, so nothing has changed: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words)
    };
    let over = said.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    tracing::info!(pool = pool_name, backend, said = %say, "an operator has spoken of a backend");
    if let Some(pool) = pool {
        pool.heed(&backend, over.as_ref()).await;
    }
    state.elders.heed(&pool_name, &backend, over.as_ref()).await;
    let overridden = over.as_ref().map(OverrideView::from);
    Ok(answer::as_json(&Said { pool: pool_name, backend, overridden }))
}

fn meaning(word: Word, query: &Query) -> Result<Say, String> {
    match word {
        Word::Enable => Ok(Say::Enable),
        Word::Override => Ok(Say::Nothing),
        Word::Drain => within(query.get("within")).map(Say::Drain),
        Word::Weight => weight(query.get("value")).map(Say::Weight),
    }
}

fn within(text: Option<&str>) -> Result<Option<Duration>, String> {
    text.map(|text| duration(text).map_err(|error| format!("within: {error}"))).transpose()
}

fn weight(text: Option<&str>) -> Result<u32, String> {
    let text = text.ok_or("which weight? add `?value=5`")?;
    let weight = text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match weight {
        Some(0) => Err("a weight is 1 to 65535: to send nothing to a backend, drain it".to_owned()),
        Some(weight @ 1..=65_535) => Ok(weight),
        _ => Err(format!("a weight is a whole number from 1 to 65535, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_backend_and_a_word() {
        let named = |pool, backend, word| Some(Named { pool, backend, word });
        assert_eq!(locate("p/backends/10.0.0.1:5/drain"), named("p", "10.0.0.1:5", Word::Drain));
        assert_eq!(locate("p%2Fq/backends/b/override"), named("p%2Fq", "b", Word::Override));
        for nothing in [
            "",
            "p",
            "p/backends/b",
            "p/backends/b/",
            "p/backends/b/Drain",
            "p/backend/b/drain",
            "p/backends/b/drain/x",
        ] {
            assert_eq!(locate(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn weights_and_spans_are_as_in_the_configuration() {
        assert_eq!((weight(Some("1")), weight(Some("65535"))), (Ok(1), Ok(65_535)));
        for bad in [None, Some(""), Some("0"), Some("65536"), Some("-1"), Some("+1"), Some("1.5"), Some("x")] {
            assert!(weight(bad).is_err(), "{bad:?}");
        }
        assert_eq!(within(None), Ok(None));
        assert_eq!(within(Some("1m30s")), Ok(Some(Duration::from_secs(90))));
        assert!(within(Some("90")).is_err() && within(Some("")).is_err());
    }
}
