//! What stands before the routes: the web configuration's rules for requests, and how many are
//! answered at a time.

use std::sync::Arc;

use axum::{Router, body::Body, response::Response};
use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONNECTION, HeaderValue, WWW_AUTHENTICATE},
    service::Service as _,
};
use hyper_util::service::TowerToHyperService;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    body::Sent,
    crowd::Life,
    limits::Limits,
    routes::{PROBES, plain, unavailable},
    web_config::{Rules, WebConfig},
};

/// Where a connection came from, and so what is asked of it.
#[derive(Clone)]
pub(super) enum Entrance {
    /// From the network: the rules of the web configuration.
    Network,
    /// By the Unix socket: the peer, who is allowed or not.
    Local(Result<(), Arc<str>>),
}

/// All that a request needs.
pub(super) struct Guard {
    pub(super) router: Router,
    pub(super) config: WebConfig,
    /// None: no limit.
    pub(super) places: Option<Arc<Semaphore>>,
    pub(super) limits: Limits,
}

impl Guard {
    /// Answers a request; whatever comes of it, it comes in time.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        life: &Arc<Life>,
        entrance: &Entrance,
    ) -> Response<Sent> {
        let open = life.open();
        // No request here has a body worth reading; hyper closes the connection over one that is
        // larger than what came with the headers.
        let request = request.map(Body::new);
        let place = if PROBES.contains(&request.uri().path()) {
            Ok(None)
        } else {
            self.place()
        };
        let (response, place) = match place {
            Ok(place) => {
                // Longer than any route takes: what is late there says so itself.
                let most = self.limits.answer * 2;
                let response = timeout(most, self.admit(request, entrance)).await;
                let late = |_| unavailable("there is no answer in time");
                (response.unwrap_or_else(late), place)
            }
            Err(Full) => (
                unavailable("too many requests at a time (--web.max-requests)"),
                None,
            ),
        };
        response.map(|body| Sent::new(body, open, place))
    }

    fn place(&self) -> Result<Option<tokio::sync::OwnedSemaphorePermit>, Full> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        let place = Arc::clone(places).try_acquire_owned();
        place.map(Some).map_err(|_| Full)
    }

    async fn admit(&self, request: Request<Body>, entrance: &Entrance) -> Response {
        match entrance {
            Entrance::Local(Ok(())) => self.route(request).await,
            Entrance::Local(Err(why)) => plain(StatusCode::FORBIDDEN, why),
            Entrance::Network => {
                let Ok(rules) = self.config.now() else {
                    let message = "the web configuration is wrong; the log says where";
                    let mut response = plain(StatusCode::INTERNAL_SERVER_ERROR, message);
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                    return response;
                };
                self.rule(request, &rules).await
            }
        }
    }

    async fn rule(&self, request: Request<Body>, rules: &Rules) -> Response {
        let rate = rules.rate.as_ref();
        let mut response = if rate.is_some_and(|bucket| !bucket.allows(Instant::now())) {
            plain(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests (rate_limit)",
            )
        } else if let Some(users) = &rules.users
            && !users.admit(request.headers().get(AUTHORIZATION)).await
        {
            let mut response = plain(StatusCode::UNAUTHORIZED, "a user and a password are needed");
            let basic = HeaderValue::from_static("Basic realm=\"socktrace\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            response
        } else {
            self.route(request).await
        };
        for (name, value) in &rules.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn route(&self, request: Request<Body>) -> Response {
        let router = TowerToHyperService::new(self.router.clone());
        match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// All places are taken.
struct Full;
