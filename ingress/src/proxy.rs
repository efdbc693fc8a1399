//! What becomes of one request.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::{Authority, PathAndQuery},
};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use rustls::pki_types::ServerName;
use towpath_route::{Found, Policy, Protocol, Route, Slot, Target, Times, normalise, request_host};

use crate::{
    Connector, Snapshots,
    auth::{Question, Verdict},
    body::Body,
    connect::Peer,
    cors,
    exchange::{Exchange, Moved},
    fail::Fail,
    guard::FIELDS_MAX,
    guarded::{Fate, Told},
    head::{self, From},
    metrics::IngressMetrics,
    pool::Pool,
    redirect,
    serve::Open,
    sticky::Sticky,
    tunnel, upstream,
};

const TARGET_MAX: usize = 8 << 10;
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// What a worker has for itself.
pub(crate) struct Worker {
    pub(crate) snapshots: Arc<Snapshots>,
    /// How TLS to endpoints is made where a route asks for nothing else.
    pub(crate) usual_tls: Connector,
    pub(crate) pool: Rc<Pool>,
    /// Which endpoint of a backend is next.
    pub(crate) turns: RefCell<HashMap<Slot, usize>>,
    /// Random once, counted on: no two requests of a node have one.
    pub(crate) id: (u64, Cell<u64>),
    /// Port to which plain requests are redirected.
    pub(crate) https_port: u16,
    pub(crate) metrics: Arc<IngressMetrics>,
}

/// One client's connection.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) from: From,
    pub(crate) fate: Told,
    pub(crate) moved: Moved,
    pub(crate) _open: Open,
}

/// Where a request goes, and what holds for it.
pub(crate) struct Way {
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) peer: Peer,
    policy: Arc<Policy>,
    /// The endpoint is the one that a cookie says.
    sticky: Option<Box<Sticky>>,
    /// Another server is asked first.
    question: Option<Box<Question>>,
    /// What is asked for instead of the client's target.
    target: Option<PathAndQuery>,
}

/// What is put into an answer, whichever it is.
#[derive(Default)]
struct After {
    cors: Option<cors::Told>,
    verdict: Verdict,
}

impl Connection {
    pub(crate) async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        self.moved.touch();
        let metrics = &self.worker.metrics;
        let wants_tunnel = head::wanted_upgrade(&request).is_some();
        let grpc = head::is_grpc(&request);
        let id = self.worker.request_id();
        let mut after = After::default();
        let result = self.serve(request, &id, &mut after).await;
        let failed = result.as_ref().err().map(|fail| fail.0);
        let mut response = result.unwrap_or_else(|fail| {
            metrics.failed(fail.1);
            let mut response = if grpc { fail.grpc() } else { fail.response() };
            response.headers_mut().insert("x-request-id", id);
            response
        });
        if wants_tunnel || self.fate.get() == Fate::Open {
            let tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            self.fate.set(if tunnel { Fate::Tunnel } else { Fate::Refused });
        }
        metrics.answered(failed.unwrap_or_else(|| response.status()));
        after.verdict.put(&mut response);
        let headers = response.headers_mut();
        if let Some(cors) = after.cors {
            cors.put(headers);
        }
        headers.entry(header::SERVER).or_insert(HeaderValue::from_static("towpath"));
        Ok(response)
    }

    async fn serve(
        self: &Rc<Self>,
        mut request: Request<Incoming>,
        id: &HeaderValue,
        after: &mut After,
    ) -> Result<Response<Body>, Fail> {
        let host = authority(&request)?;
        let way = match self.find(&request, host.as_ref(), id, after)? {
            Ok(way) => way,
            Err(moved) => return Ok(moved),
        };
        if let Some(question) = way.question {
            // Its state is large, and most requests are asked about by none.
            let verdict = &mut after.verdict;
            let asked = Box::pin(self.ask(question, &request, host.as_ref(), id, verdict));
            if let Some(elsewhere) = asked.await? {
                return Ok(elsewhere);
            }
        }
        let length = content_length(request.headers())?;
        if way.policy.body_max.zip(length).is_some_and(|(max, length)| length > max) {
            return Err(Fail(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
        }
        let http_2 = way.peer.http_2;
        // An endpoint of HTTP/2 has no other protocol to change to.
        let upgrade = head::wanted_upgrade(&request).filter(|_| !http_2);
        let tunnel = upgrade.is_some().then(|| upgrade::on(&mut request));
        let exchange = Exchange::new(self.moved.clone(), way.policy.times);
        let (mut parts, incoming) = request.into_parts();
        let host = host.unwrap_or_else(|| HeaderValue::from_static(""));
        head::forward(&mut parts.headers, host, self.from, id.clone(), upgrade);
        after.verdict.forward(&mut parts.headers);
        head::say_host(&mut parts.headers, way.policy.upstream_host.as_deref());
        if let Some(target) = way.target {
            parts.uri = Uri::from(target);
            head::say_prefix(&mut parts.headers, way.policy.forwarded_prefix.as_deref());
        }
        let body = Body::request(incoming, way.policy.body_max, &exchange);
        if http_2 {
            head::for_http_2(&mut parts, way.peer.tls.is_some(), way.endpoints.first())?;
        } else {
            parts.uri = origin_form(&parts.uri);
            parts.version = Version::HTTP_11;
            if length.is_none() && !hyper::body::Body::is_end_stream(&body) {
                // Also where hyper would send none: a GET may have a body.
                parts.headers.insert(header::TRANSFER_ENCODING, CHUNKED);
            }
        }
        let request = Request::from_parts(parts, body);
        let sent = upstream::send(&self.worker, way.endpoints, way.peer, request, &exchange).await;
        let (mut response, lease) = sent.map_err(|fail| match exchange.is_over() {
            true => Fail(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            false => fail,
        })?;
        // What it says of one connection of an upgrade is the client's too.
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !upgraded {
            head::strip(response.headers_mut());
        }
        if let Some(sticky) = way.sticky {
            sticky.put(lease.key.endpoint, self.from.secure, response.headers_mut());
        }
        if upgraded {
            return self.join(response, tunnel, way.policy.times);
        }
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(|incoming| Body::response(incoming, lease, &exchange)))
    }

    /// Both ends leave HTTP.
    fn join(
        self: &Rc<Self>,
        mut response: Response<Incoming>,
        client: Option<OnUpgrade>,
        times: Times,
    ) -> Result<Response<Body>, Fail> {
        let client = client.ok_or(Fail(StatusCode::BAD_GATEWAY, "unasked_upgrade"))?;
        let endpoint = upgrade::on(&mut response);
        tokio::task::spawn_local(tunnel::join(Rc::clone(self), client, endpoint, times));
        Ok(response.map(|_nothing| Body::Text(None)))
    }

    /// `Ok(Err(..))`: an answer that needs no endpoint.
    fn find(
        &self,
        request: &Request<Incoming>,
        host: Option<&HeaderValue>,
        id: &HeaderValue,
        after: &mut After,
    ) -> Result<Result<Way, Response<Body>>, Fail> {
        let bad = |reason| Fail(StatusCode::BAD_REQUEST, reason);
        if request.method() == Method::CONNECT {
            return Err(Fail(StatusCode::METHOD_NOT_ALLOWED, "connect"));
        }
        let uri = request.uri();
        if uri.path_and_query().map_or(0, |target| target.as_str().len()) > TARGET_MAX {
            return Err(Fail(StatusCode::URI_TOO_LONG, "target_too_long"));
        }
        if request.headers().len() > FIELDS_MAX {
            // Of HTTP/1 the guard has counted them.
            return Err(Fail(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_fields"));
        }
        let authority = match host {
            Some(host) => host.to_str().map_err(|_error| bad("bad_host"))?,
            None => "",
        };
        let name = match authority {
            "" => "".into(),
            some => request_host(some).map_err(|_error| bad("bad_host"))?,
        };
        let path = normalise(uri.path()).map_err(|_error| bad("bad_path"))?;
        let table = self.worker.snapshots.table.load();
        let route = match table.find(&name, &path) {
            Found::Route(route) => route,
            Found::Nothing => return Err(Fail(StatusCode::NOT_FOUND, "no_route")),
            Found::Ambiguous => return Err(bad("ambiguous_path")),
        };
        let closed = matches!(route.target, Target::Closed(_));
        if let Some(answer) = redirect::to_root(route, &path, (authority, self.from.secure)) {
            return Ok(Err(answer));
        }
        // In the order of nginx's phases: a browser that asks first is answered before it is led to
        // HTTPS or judged by its address.
        after.cors = cors::Told::of(&route.policy, request).filter(|_| !closed);
        if let Some(answer) = after.cors.as_ref().and_then(|_| cors::Told::preflight(request)) {
            return Ok(Err(answer));
        }
        if let Some(answer) = redirect::elsewhere(route) {
            return Ok(Err(answer));
        }
        let solver = path.starts_with("/.well-known/acme-challenge/");
        if route.to_https && !self.from.secure && !solver && !name.is_empty() {
            return Ok(Err(self.worker.to_https(&name, uri)));
        }
        let client = self.from.client.ip();
        if route.policy.ranges.as_ref().is_some_and(|ranges| !ranges.allow(client)) {
            return Err(Fail(StatusCode::FORBIDDEN, "denied"));
        }
        let mut way = self.worker.way(route, &name, self.from.secure)?;
        if let Some(sticky) = self.worker.sticky(route, request.headers()) {
            sticky.lead(&mut way.endpoints);
            // Only routes that ask for it pay.
            way.sticky = Some(Box::new(sticky));
        }
        way.target = rewritten(route, &path, uri.query())?;
        way.question = self.question((&table, route), request, (host, &name), id)?;
        Ok(Ok(way))
    }
}

impl Worker {
    pub(crate) fn way(&self, route: &Route, host: &str, secure: bool) -> Result<Way, Fail> {
        let unavailable = |reason| Fail(StatusCode::SERVICE_UNAVAILABLE, reason);
        let slot = match route.target {
            Target::Service(slot) => slot,
            Target::Closed(_) => return Err(unavailable("route_closed")),
            Target::NoBackend => return Err(unavailable("no_backend")),
        };
        let (said, endpoints) = self.endpoints(slot).map_err(unavailable)?;
        let protocol = route.policy.protocol.unwrap_or(said);
        let peer = self.peer(protocol, &route.policy, host, secure)?;
        Ok(Way {
            endpoints,
            peer,
            policy: Arc::clone(&route.policy),
            sticky: None,
            question: None,
            target: None,
        })
    }

    /// What the endpoints of a slot say they speak, and those that are tried, in their order; or why there
    /// is none.
    pub(crate) fn endpoints(
        &self,
        slot: Slot,
    ) -> Result<(Protocol, Vec<SocketAddr>), &'static str> {
        let sets = self.snapshots.sets.load();
        let set = sets.get(slot).ok_or("no_endpoints")?;
        if let Some(missing) = set.missing {
            return Err(missing.as_str());
        }
        let mut turns = self.turns.borrow_mut();
        let begin = || usize::try_from(self.id.0 & 0xffff).unwrap_or(0);
        let turn = turns.entry(slot).or_insert_with(begin);
        *turn = turn.wrapping_add(1);
        let first = *turn % set.endpoints.len().max(1);
        let (before, after) = set.endpoints.split_at_checked(first).unwrap_or_default();
        let endpoints = after.iter().chain(before).copied().take(3).collect();
        Ok((set.protocol, endpoints))
    }

    /// What a cookie says of a request of this route, where it asks for that.
    fn sticky(&self, route: &Route, headers: &HeaderMap) -> Option<Sticky> {
        route.policy.affinity.as_ref()?;
        let Target::Service(slot) = route.target else { return None };
        let sets = self.snapshots.sets.load();
        Sticky::of(route, sets.get(slot)?, headers)
    }

    /// How a server that is asked about requests is spoken to: with any certificate, telling no name.
    pub(crate) fn peer_of_auth(&self, protocol: Protocol, policy: &Policy) -> Peer {
        let tls = protocol.is_tls(false).then(|| self.usual_tls.clone());
        let (http_2, time) = (protocol.is_http_2(), policy.times.connect);
        Peer { http_2, tls, name: None, time }
    }

    /// How the endpoints of a route are spoken to. `secure`: the request came over TLS.
    fn peer(
        &self,
        protocol: Protocol,
        policy: &Policy,
        host: &str,
        secure: bool,
    ) -> Result<Peer, Fail> {
        let (http_2, time) = (protocol.is_http_2(), policy.times.connect);
        if !protocol.is_tls(secure) {
            return Ok(Peer { http_2, tls: None, name: None, time });
        }
        let tls = match &policy.tls {
            None => self.usual_tls.clone(),
            Some(tls) => {
                let known = self.snapshots.connectors.load().get(tls).cloned();
                known.ok_or(Fail(StatusCode::SERVICE_UNAVAILABLE, "no_upstream_tls"))?
            }
        };
        // A host that is no name can be neither verified nor told.
        let told = policy.upstream_host.as_deref().and_then(|host| request_host(host).ok());
        let name = || ServerName::try_from(told.as_deref().unwrap_or(host).to_owned());
        let name = tls.is_by_host().then(name).transpose();
        let name = name.map_err(|_error| Fail(StatusCode::BAD_GATEWAY, "upstream_tls"))?;
        Ok(Peer { http_2, tls: Some(tls), name, time })
    }

    /// Forgets connections that waited too long, and backends that are gone.
    pub(crate) fn sweep(&self) {
        self.pool.sweep();
        let sets = self.snapshots.sets.load();
        self.turns.borrow_mut().retain(|slot, _| sets.get(*slot).is_some());
    }

    fn request_id(&self) -> HeaderValue {
        let (random, count) = &self.id;
        let now = count.get().wrapping_add(1);
        count.set(now);
        let text = format!("{random:016x}{now:016x}");
        HeaderValue::try_from(text).unwrap_or_else(|_error| HeaderValue::from_static(""))
    }

    fn to_https(&self, host: &str, uri: &Uri) -> Response<Body> {
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let port = match self.https_port {
            443 => String::new(),
            other => format!(":{other}"),
        };
        let mut response = Response::new(Body::Text(None));
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        if let Ok(location) = HeaderValue::try_from(format!("https://{host}{port}{target}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// The authority that counts: of the target (RFC 9112 3.2.2), else Host. One that is said twice
/// differently is refused.
fn authority(request: &Request<Incoming>) -> Result<Option<HeaderValue>, Fail> {
    let bad = Fail(StatusCode::BAD_REQUEST, "bad_host");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad);
    }
    let target = request.uri().authority().map(Authority::as_str);
    if target.is_some_and(|target| target.contains('@')) {
        return Err(bad);
    }
    match (target, host) {
        (Some(target), Some(host)) if request.version() == Version::HTTP_2 => {
            let same = host.as_bytes().eq_ignore_ascii_case(target.as_bytes());
            if same { Ok(Some(host.clone())) } else { Err(bad) }
        }
        (Some(target), _) => HeaderValue::try_from(target).map(Some).map_err(|_error| bad),
        (None, Some(host)) => Ok(Some(host.clone())),
        // The guard lets only HTTP/1.0 come without.
        (None, None) if request.version() == Version::HTTP_10 => Ok(None),
        (None, None) => Err(bad),
    }
}

/// The target of a route that rewrites paths, with the query of the request.
pub(crate) fn rewritten(
    route: &Route,
    path: &str,
    query: Option<&str>,
) -> Result<Option<PathAndQuery>, Fail> {
    let Some(mut target) = route.rewritten(path) else { return Ok(None) };
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    let bad = |_error| Fail(StatusCode::BAD_REQUEST, "bad_path");
    PathAndQuery::try_from(target).map(Some).map_err(bad)
}

fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().cloned();
    Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

/// The length that the request says. HTTP/1 was judged by the guard; a request of HTTP/2 becomes one of
/// HTTP/1, where a second length would be another framing.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Fail> {
    let bad = Fail(StatusCode::BAD_REQUEST, "bad_length");
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or(bad)
}
