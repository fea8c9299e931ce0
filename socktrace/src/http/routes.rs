//! What is where.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY},
};
use serde_json::json;
use tokio::time::timeout;

use super::{ApiError, Content, LISTS, Page, encode, landing, negotiate, scrape::Scrapes};

/// Asked by those who restart what does not answer: never refused for want of room.
pub(super) const PROBES: [&str; 2] = ["/-/healthy", "/-/ready"];

/// What is served, and how.
pub(super) struct Site<C> {
    pub(super) content: Arc<C>,
    pub(super) telemetry_path: String,
    pub(super) enable_lifecycle: bool,
    /// How long an answer may take to be made.
    pub(super) patience: Duration,
    pub(super) scrapes: Scrapes,
}

pub(super) fn router<C: Content>(site: Arc<Site<C>>) -> Router {
    let pages = site.content.pages();
    let front = html(landing::page(&site.telemetry_path, &pages));
    let mut router = Router::new().route("/", front);
    for Page {
        path, html: page, ..
    } in pages
    {
        router = router.route(path, html(page));
    }
    router
        .route(&site.telemetry_path, get(metrics::<C>))
        .route("/-/healthy", get(async || "socktrace runs\n"))
        .route("/-/ready", get(ready::<C>))
        .route("/-/reload", post(reload::<C>))
        .route("/api/v1/{list}", get(api::<C>))
        .fallback(async |uri: Uri| {
            let message = format!("there is no {}; / lists what there is", uri.path());
            plain(StatusCode::NOT_FOUND, &message)
        })
        .method_not_allowed_fallback(async || {
            plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "this method is not for this path",
            )
        })
        .with_state(site)
}

/// A sentence for a person.
pub(super) fn plain(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
}

/// Always the same page.
fn html<S: Clone + Send + Sync + 'static>(page: String) -> MethodRouter<S> {
    let page = Bytes::from(page);
    get(move || async move { answer(page, false, "text/html; charset=utf-8") })
}

async fn metrics<C: Content>(State(site): State<Arc<Site<C>>>, headers: HeaderMap) -> Response {
    let format = negotiate::format(&headers);
    let patience = negotiate::patience(&headers, site.patience);
    let page = async {
        let page = site.scrapes.get(&*site.content, format).await;
        let page = page.map_err(|unavailable| unavailable.to_string())?;
        let bytes = page.bytes(negotiate::gzip(&headers)).await;
        bytes.map_err(|error| format!("cannot be compressed: {error}"))
    };
    match timeout(patience, page).await {
        Ok(Ok((bytes, gzip))) => {
            let mut response = answer(bytes, gzip, format.content_type());
            let vary = HeaderValue::from_static("Accept, Accept-Encoding");
            response.headers_mut().insert(VARY, vary);
            response
        }
        Ok(Err(message)) => unavailable(&message),
        Err(_) => unavailable(&late(patience)),
    }
}

async fn ready<C: Content>(State(site): State<Arc<Site<C>>>) -> Response {
    match site.content.ready() {
        Ok(()) => plain(StatusCode::OK, "socktrace is ready"),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn reload<C: Content>(State(site): State<Arc<Site<C>>>) -> Response {
    if !site.enable_lifecycle {
        let message =
            "reloading over HTTP is off; start with --web.enable-lifecycle, or send SIGHUP";
        return plain(StatusCode::FORBIDDEN, message);
    }
    match timeout(site.patience, site.content.reload()).await {
        Ok(Ok(())) => plain(StatusCode::OK, "the configuration is read again"),
        Ok(Err(message)) => plain(StatusCode::INTERNAL_SERVER_ERROR, &message),
        Err(_) => unavailable(&late(site.patience)),
    }
}

async fn api<C: Content>(
    State(site): State<Arc<Site<C>>>,
    Path(list): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if !LISTS.contains(&list.as_str()) {
        let message = format!("there is no list {list}, only {}", LISTS.join(", "));
        return refusal(&ApiError::new(404, message));
    }
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query = query.into_owned().collect();
    let patience = negotiate::patience(&headers, site.patience);
    let answered = match timeout(patience, site.content.api(&list, query)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return refusal(&error),
        Err(_) => return refusal(&ApiError::new(503, late(patience))),
    };
    let gzip = negotiate::gzip(&headers) && encode::is_worth_it(&answered.body);
    let bytes = if gzip {
        match encode::gzip(answered.body).await {
            Ok(bytes) => bytes,
            Err(error) => return refusal(&ApiError::new(500, error.to_string())),
        }
    } else {
        answered.body
    };
    let mut response = answer(bytes, gzip, answered.content_type);
    for (name, value) in answered.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    let vary = HeaderValue::from_static("Accept-Encoding");
    response.headers_mut().insert(VARY, vary);
    response
}

fn answer(bytes: Bytes, gzip: bool, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// No answer now; soon there may be one.
pub(super) fn unavailable(message: &str) -> Response {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, message);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

fn late(patience: Duration) -> String {
    format!("there is no answer within {patience:?}")
}

fn refusal(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = format!("{}\n", json!({ "error": error.message }));
    let json = [(CONTENT_TYPE, "application/json")];
    (status, json, body).into_response()
}
