//! Another server is asked about a request before it goes on, as nginx's `auth_request` does.

use std::{future::poll_fn, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
    uri::PathAndQuery,
};
use hyper::body::{Body as _, Incoming};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use towpath_route::{
    Asked, ExternalAuth, Found, Policy, Protocol, Route, RouteTable, Template, Variable, normalise,
};

use crate::{
    body::Body,
    connect::Peer,
    exchange::Exchange,
    fail::Fail,
    head,
    proxy::{Connection, rewritten},
    upstream,
};

/// Of what is not read of an answer this much may still come, so that its connection can be used again.
const REST_MAX: usize = 64 << 10;
/// And for so long.
const REST_TIME: Duration = Duration::from_secs(2);
/// What nginx leaves as it is in the value of a parameter.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const FAILED: Fail = Fail(StatusCode::INTERNAL_SERVER_ERROR, "auth_failed");

/// Whom to ask about one request, and what.
pub(crate) struct Question {
    policy: Arc<Policy>,
    endpoints: Vec<SocketAddr>,
    peer: Peer,
    host: HeaderValue,
    target: PathAndQuery,
}

/// What an answer means for the client's.
#[derive(Default)]
pub(crate) struct Verdict {
    cookies: Vec<HeaderValue>,
    always: bool,
    challenge: Option<HeaderValue>,
    /// What the endpoint is told, or is not even if the client says it.
    told: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Verdict {
    /// After the headers of one connection were removed: a client that lists one of these among them must
    /// not take it away.
    pub(crate) fn forward(&mut self, headers: &mut HeaderMap) {
        for (name, value) in self.told.drain(..) {
            match value {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
    }

    pub(crate) fn put(self, response: &mut Response<Body>) {
        // As nginx's `add_header` without `always`.
        let usual = matches!(
            response.status().as_u16(),
            200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308
        );
        let denied = response.status() == StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        if usual || self.always {
            for cookie in self.cookies {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        if let Some(challenge) = self.challenge.filter(|_| denied) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
    }
}

/// What variables of templates stand for.
#[derive(Clone, Copy)]
struct Said<'r> {
    connection: &'r Connection,
    request: &'r Request<Incoming>,
    /// As the client said it.
    host: Option<&'r HeaderValue>,
    id: &'r HeaderValue,
}

impl Said<'_> {
    fn fill(&self, template: &Template) -> String {
        template.fill(|variable, text| self.put(variable, text))
    }

    fn put(&self, variable: &Variable, text: &mut String) {
        let uri = self.request.uri();
        let target = || uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let authority = self.host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        match variable {
            Variable::Host => {
                let name = towpath_route::request_host(authority);
                text.push_str(&name.unwrap_or_default());
            }
            Variable::Authority => text.push_str(authority),
            Variable::Scheme => text.push_str(self.scheme()),
            Variable::Target => text.push_str(target()),
            Variable::EscapedTarget => text.extend(utf8_percent_encode(target(), &PLAIN)),
            Variable::Query => text.push_str(uri.query().unwrap_or_default()),
            Variable::Method => text.push_str(self.request.method().as_str()),
            Variable::Client => {
                text.push_str(&self.connection.from.client.ip().to_canonical().to_string());
            }
            Variable::Id => text.push_str(self.id.to_str().unwrap_or_default()),
            Variable::Header(name) => {
                let value = self.request.headers().get(&**name);
                text.push_str(value.and_then(|value| value.to_str().ok()).unwrap_or_default());
            }
        }
    }

    const fn scheme(&self) -> &'static str {
        if self.connection.from.secure { "https" } else { "http" }
    }
}

impl Connection {
    /// Whom to ask about a request of this route. `name`: its host.
    pub(crate) fn question(
        &self,
        (table, route): (&RouteTable, &Route),
        request: &Request<Incoming>,
        (host, name): (Option<&HeaderValue>, &str),
        id: &HeaderValue,
    ) -> Result<Option<Box<Question>>, Fail> {
        let Some(auth) = &route.policy.auth else { return Ok(None) };
        let said = Said { connection: self, request, host, id };
        let target = said.fill(&auth.target);
        let policy = Arc::clone(&route.policy);
        let value = |text: &str| HeaderValue::try_from(text).map_err(|_error| FAILED);
        if let Asked::Service(_, host) = &auth.asked {
            let endpoints = self.worker.endpoints(route.asked.ok_or(FAILED)?);
            let (_, endpoints) = endpoints.map_err(|_none| FAILED)?;
            let protocol = if auth.tls { Protocol::Https } else { Protocol::Http };
            let peer = self.worker.peer_of_auth(protocol, &route.policy);
            let target = PathAndQuery::try_from(target).map_err(|_error| FAILED)?;
            let host = value(host)?;
            return Ok(Some(Box::new(Question { policy, endpoints, peer, host, target })));
        }
        let own = match &auth.asked {
            Asked::Host(host) => host,
            _ => name,
        };
        // The server is behind a route of ours: it is asked itself, not by way of a name.
        let (path, query) =
            target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
        let normal = normalise(path).map_err(|_error| FAILED)?;
        let Found::Route(of) = table.find(own, &normal) else { return Err(FAILED) };
        // One that is asked about itself would never answer. What another namespace keeps to some clients, or lends a
        // certificate of its own to, is not reached by way of this one.
        let foreign = of.origin.ingress.namespace != route.origin.ingress.namespace;
        if of.policy.auth.is_some() || (foreign && is_kept(&of.policy)) {
            return Err(FAILED);
        }
        let way = self.worker.way(of, own, self.from.secure).map_err(|_fail| FAILED)?;
        let changed = rewritten(of, &normal, query).map_err(|_fail| FAILED)?;
        let same = || PathAndQuery::try_from(&*target).map_err(|_error| FAILED);
        let target = changed.map_or_else(same, Ok)?;
        let host = value(own)?;
        let (endpoints, peer) = (way.endpoints, way.peer);
        Ok(Some(Box::new(Question { policy, endpoints, peer, host, target })))
    }

    /// Asks. Answers where the client is sent instead, if it is.
    pub(crate) async fn ask(
        &self,
        question: Box<Question>,
        request: &Request<Incoming>,
        host: Option<&HeaderValue>,
        id: &HeaderValue,
        verdict: &mut Verdict,
    ) -> Result<Option<Response<Body>>, Fail> {
        let Question { policy, endpoints, peer, host: asked, target } = *question;
        let Some(auth) = &policy.auth else { return Ok(None) };
        let said = Said { connection: self, request, host, id };
        let sent = self.sub_request(auth, said, (asked, target), &peer, endpoints.first())?;
        let exchange = Exchange::new(self.moved.clone(), policy.times);
        let answer = upstream::send(&self.worker, endpoints, peer, sent, &exchange).await;
        let (answer, lease) = answer.map_err(|_fail| FAILED)?;
        let (answer, body) = answer.into_parts();
        let mut body = Body::response(body, lease, &exchange);
        // What is not read in time costs its connection.
        let _read = tokio::time::timeout(REST_TIME, drain(&mut body)).await;
        drop(body);
        verdict.cookies = answer.headers.get_all(header::SET_COOKIE).iter().cloned().collect();
        verdict.always = auth.always_set_cookie;
        match answer.status {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED => {
                if let Some(signin) = &auth.signin {
                    return sign_in(&said.fill(signin)).map(Some);
                }
                verdict.challenge = answer.headers.get(header::WWW_AUTHENTICATE).cloned();
                return Err(Fail(StatusCode::UNAUTHORIZED, "auth_denied"));
            }
            StatusCode::FORBIDDEN => return Err(Fail(StatusCode::FORBIDDEN, "auth_denied")),
            _ => return Err(FAILED),
        }
        // What the server does not say the client cannot say either.
        let named = auth.headers.iter().filter_map(|name| HeaderName::try_from(&**name).ok());
        verdict.told =
            named.map(|name| (name.clone(), answer.headers.get(name).cloned())).collect();
        Ok(None)
    }

    /// The client's request without its body, and what it was.
    fn sub_request(
        &self,
        auth: &ExternalAuth,
        said: Said<'_>,
        (asked, target): (HeaderValue, PathAndQuery),
        peer: &Peer,
        endpoint: Option<&SocketAddr>,
    ) -> Result<Request<Body>, Fail> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = said.request.headers().clone();
        let own = said.host.cloned().unwrap_or_else(|| HeaderValue::from_static(""));
        let authority = own.to_str().unwrap_or_default().to_owned();
        head::forward(&mut parts.headers, own, self.from, said.id.clone(), None);
        let headers = &mut parts.headers;
        // What a server might take for what was asked, and the client may have said.
        for name in ["content-length", "x-forwarded-proto", "x-forwarded-uri", "x-forwarded-method"]
        {
            headers.remove(name);
        }
        let uri = said.request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let redirect = auth.redirect.as_ref().map(|template| said.fill(template));
        let mut say = |name: &'static str, text: &str| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        say("x-original-url", &format!("{}://{authority}{uri}", said.scheme()));
        say("x-original-method", said.request.method().as_str());
        say("x-sent-from", "nginx-ingress-controller");
        say("x-auth-request-redirect", redirect.as_deref().unwrap_or(uri));
        say("x-original-uri", uri);
        if let Some(method) = auth.method {
            parts.method = Method::try_from(method).map_err(|_error| FAILED)?;
        }
        headers.insert(header::HOST, asked);
        parts.uri = target.into();
        parts.version = Version::HTTP_11;
        if peer.http_2 {
            head::for_http_2(&mut parts, peer.tls.is_some(), endpoint).map_err(|_fail| FAILED)?;
        }
        Ok(Request::from_parts(parts, Body::Text(None)))
    }
}

fn is_kept(policy: &Policy) -> bool {
    policy.ranges.is_some() || policy.redirect.is_some() || policy.tls.is_some()
}

fn sign_in(url: &str) -> Result<Response<Body>, Fail> {
    let mut response = Response::new(Body::Text(None));
    *response.status_mut() = StatusCode::FOUND;
    let location = HeaderValue::try_from(url).map_err(|_error| FAILED)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Reads the rest of a short answer.
async fn drain(body: &mut Body) {
    let mut left = REST_MAX;
    while left > 0 {
        let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await else {
            return;
        };
        left = left.saturating_sub(frame.data_ref().map_or(1, |data| data.len().max(1)));
    }
}
