//! What is answered: text, JSON, or a problem (RFC 9457).

use std::borrow::Cow;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

/// A whole response.
pub(super) type Answer = Response<Full<Bytes>>;

/// Plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with(status, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

/// A body of any type.
pub(super) fn with(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = empty(status);
    *answer.body_mut() = Full::new(body.into());
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A value as JSON.
pub(super) fn as_json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => with(StatusCode::OK, HeaderValue::from_static("application/json"), body),
        Err(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into(),
    }
}

/// The same with another status than 200.
pub(super) fn with_status(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut answer = as_json(value);
    if answer.status() == StatusCode::OK {
        *answer.status_mut() = status;
    }
    answer
}

/// What is wrong, for people and for tools; becomes a problem's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    detail: Cow<'static, str>,
    /// One more header, with its value.
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    /// The request makes no sense.
    pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The path is there, the method is not.
    pub(super) fn wrong_method(allowed: &'static str) -> Self {
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("allowed here: {allowed}"));
        Self { header: Some((ALLOW, allowed)), ..refusal }
    }

    /// The token is missing or not the right one.
    pub(super) fn unauthorized(detail: &'static str) -> Self {
        Self { header: Some((WWW_AUTHENTICATE, "Bearer")), ..Self::new(StatusCode::UNAUTHORIZED, detail) }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, detail, header } = refusal;
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        let mut answer = with(status, HeaderValue::from_static("application/problem+json"), body.to_string());
        answer.headers_mut().extend(header.map(|(name, value)| (name, HeaderValue::from_static(value))));
        answer
    }
}
