//! What holds for the requests of a route, as annotations ask for it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use towpath_model::{
    ObjectName,
    service::{AppProtocol, Cidr},
};

use crate::{BackendRef, Cors, Rewrite, Template};

/// ingress-nginx's default, which its users count on.
const BODY_MAX: u64 = 1 << 20;

/// What annotations ask for and is honoured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Largest body of a request in bytes; `None`: any.
    pub body_max: Option<u64>,
    /// What is spoken to endpoints, as the Ingress says it; `None`: as the Service's port says it.
    pub protocol: Option<Protocol>,
    /// How TLS to endpoints is made; `None`: with any certificate, naming no host.
    pub tls: Option<Arc<EndpointTls>>,
    /// How long endpoints are waited for.
    pub times: Times,
    /// Which clients are served; `None`: all.
    pub ranges: Option<Box<Ranges>>,
    /// The server that is asked about each request; `None`: none is.
    pub auth: Option<Box<ExternalAuth>>,
    /// Requests go to no endpoint, but elsewhere.
    pub redirect: Option<Box<Redirect>>,
    /// Requests of `/` are sent to this path of the same host.
    pub app_root: Option<Box<str>>,
    /// What endpoints get as Host; `None`: the request's.
    pub upstream_host: Option<Box<str>>,
    /// Requests of one browser go to one endpoint.
    pub affinity: Option<Box<Affinity>>,
    /// What browsers are told about scripts of other sites.
    pub cors: Option<Box<Cors>>,
    /// The path that endpoints get; `None`: the request's.
    pub rewrite: Option<Rewrite>,
    /// `X-Forwarded-Prefix` of requests whose path is rewritten.
    pub forwarded_prefix: Option<Box<str>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            body_max: Some(BODY_MAX),
            protocol: None,
            tls: None,
            times: Times::default(),
            ranges: None,
            auth: None,
            redirect: None,
            app_root: None,
            upstream_host: None,
            affinity: None,
            cors: None,
            rewrite: None,
            forwarded_prefix: None,
        }
    }
}

/// Another server is asked about each request: what it answers with 2xx passes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalAuth {
    /// A Service is asked over TLS.
    pub tls: bool,
    /// Which server.
    pub asked: Asked,
    /// Its path and query.
    pub target: Template,
    /// The method; `None`: GET.
    pub method: Option<&'static str>,
    /// Headers of its answer that the endpoint gets, in lower case. Those that the client sent under
    /// these names it does not get.
    pub headers: Box<[Box<str>]>,
    /// Where a client is sent for an answer of 401.
    pub signin: Option<Template>,
    /// What is told as `X-Auth-Request-Redirect`; `None`: the request's target.
    pub redirect: Option<Template>,
    /// Cookies of its answer go to the client with any status.
    pub always_set_cookie: bool,
}

/// The server that is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A Service, and the name that it is called by.
    Service(BackendRef, Box<str>),
    /// What the routes of the request's own host lead to.
    OwnHost,
    /// What the routes of this host lead to.
    Host(Box<str>),
}

/// How long endpoints are waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// Between two parts of a request that an endpoint takes.
    pub send: Duration,
    /// For the head of an answer, and between two parts of its body.
    pub read: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { connect: Duration::from_secs(5), send: minute, read: minute }
    }
}

/// Which clients are served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    /// These are not.
    pub denied: Box<[Cidr]>,
    /// And none but these; `None`: all others.
    pub allowed: Option<Box<[Cidr]>>,
}

impl Ranges {
    /// Is a client of this address served? First those that are denied, as nginx looks.
    #[must_use]
    pub fn allow(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let within = |ranges: &[Cidr]| ranges.iter().any(|range| range.contains(client));
        !within(&self.denied) && self.allowed.as_deref().is_none_or(within)
    }
}

/// What is spoken to endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    Grpc,
    /// HTTP/2 over TLS.
    Grpcs,
    /// HTTP/1.1 over TLS for requests that came over TLS, else HTTP/1.1.
    Auto,
}

impl Protocol {
    /// Is it HTTP/2?
    #[must_use]
    pub const fn is_http_2(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    /// Is it over TLS, for a request that came so (`secure`) or not?
    #[must_use]
    pub const fn is_tls(self, secure: bool) -> bool {
        match self {
            Self::Http | Self::Grpc => false,
            Self::Https | Self::Grpcs => true,
            Self::Auto => secure,
        }
    }
}

impl From<AppProtocol> for Protocol {
    fn from(said: AppProtocol) -> Self {
        match said {
            AppProtocol::Http => Self::Http,
            AppProtocol::Http2 => Self::Grpc,
            AppProtocol::Https => Self::Https,
        }
    }
}

/// How TLS to endpoints is made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EndpointTls {
    /// The Secret with this proxy's certificate, the authorities of the endpoints', or both.
    pub secret: Option<ObjectName>,
    /// An endpoint whose certificate is not of those authorities, or of another name, gets no request.
    pub verify: bool,
    /// The name that is verified and told; `None`: the host of the request.
    pub name: Option<Box<str>>,
    /// The name is told (SNI).
    pub tell_name: bool,
    /// Versions that are offered.
    pub versions: TlsVersions,
}

/// Versions of TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[expect(missing_docs, reason = "the variants are the versions' names")]
pub enum TlsVersions {
    #[default]
    Both,
    Only12,
    Only13,
}

/// Requests of one browser go to one endpoint: a cookie says which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Affinity {
    /// Name of the cookie.
    pub cookie: Box<str>,
    /// Its `Path`; `None`: the route's.
    pub path: Option<Box<str>>,
    /// Its `Domain`.
    pub domain: Option<Box<str>>,
    /// Its `Max-Age`, in seconds.
    pub max_age: Option<i64>,
    /// Its `Expires`, in seconds from now.
    pub expires: Option<i64>,
    /// Its `SameSite`.
    pub same_site: Option<SameSite>,
    /// `Secure`; `None`: where the request came over TLS.
    pub secure: Option<bool>,
    /// When another endpoint had to answer, the cookie says that one from then on.
    pub change_on_failure: bool,
}

/// `SameSite` of a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the variants are the values' names")]
pub enum SameSite {
    None,
    Lax,
    Strict,
}

/// Where requests are sent instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// The status, from 300 to 308.
    pub code: u16,
    /// The address.
    pub to: Box<str>,
}
