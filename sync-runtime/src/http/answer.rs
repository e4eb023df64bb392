//! Bodies, headers and documents of answers.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::control::ControlError;
use crate::api::{DaemonView, Document, ErrorView, Schema, VERSION, WallMs};

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

const JSON: &str = "application/json";
const API: HeaderName = HeaderName::from_static("x-ngit-sync-api");

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    view: ErrorView,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, id: &str, message: impl Into<String>) -> Self {
        let view = ErrorView { id: id.into(), message: message.into(), ..ErrorView::default() };
        Self { status, view }
    }

    pub(super) fn read_only() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "forbidden", "this address is for reading only")
            .hint("use the control socket")
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", why)
    }

    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.view.hint = Some(hint.into());
        self
    }

    pub(super) fn nearest(mut self, names: Vec<String>) -> Self {
        self.view.nearest = names;
        self
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn response(self, at: WallMs, daemon: DaemonView) -> Response<Body> {
        let mut response = document(self.status, at, daemon, self.view, Vec::new());
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::UnknownRelay => Self::not_found(error.to_string()),
            ControlError::Stopping | ControlError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())
            }
        }
    }
}

/// A document as JSON.
pub(super) fn document<T: Schema + Serialize>(
    status: StatusCode,
    at: WallMs,
    daemon: DaemonView,
    data: T,
    warnings: Vec<String>,
) -> Response<Body> {
    let mut document = Document::new(at, daemon, data);
    document.warnings = warnings;
    let mut text = serde_json::to_vec(&document).expect("documents have string keys only");
    text.push(b'\n');
    bytes(status, JSON, text)
}

/// An answer with the headers that every one has. No page may be built from it elsewhere, and
/// nothing of it runs.
pub(super) fn bytes(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    respond(status, content_type, Full::new(body.into()).boxed_unsync())
}

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(API, HeaderValue::from(VERSION));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, nothing);
    response
}
