//! What a start found in the kernel and must not lose: entries of objects that exist all the while,
//! whatever the first lists lack and whether or not the objects can be read.

use std::net::IpAddr;

use towpath_image::{
    ServiceImage,
    datapath::{FrontendKey, FrontendKind},
};

use crate::{
    server::{BALLAST, Server},
    world::Kind,
};

/// Entries of the ballast, whose addresses no other Service has.
#[derive(Default)]
pub(crate) struct Kept {
    frontends: Vec<FrontendKey>,
    /// The frontend of the only Service of the ballast that has an endpoint.
    filled: Option<FrontendKey>,
}

fn is_ballast(key: &FrontendKey) -> bool {
    let ip = IpAddr::from(key.addr).to_string();
    key.kind() == Some(FrontendKind::Vip) && ip.starts_with("10.97.0.")
}

/// Which Service of the ballast has this address.
fn service_at(key: &FrontendKey) -> String {
    let IpAddr::V4(ip) = IpAddr::from(key.addr) else { return String::new() };
    format!("b{}", ip.octets()[3])
}

fn has_endpoint(image: &ServiceImage, key: &FrontendKey) -> bool {
    let word = image.frontends.get(key);
    let record = word.and_then(|word| image.services.get(&word.service()));
    record.is_some_and(|record| record.sets[0].count() > 0)
}

impl Kept {
    /// Of what the kernel holds now. Nothing when the ballast is not all there: a list that lacks
    /// little is believed.
    pub(crate) fn of_ballast(image: &ServiceImage) -> Self {
        let frontends: Vec<_> =
            image.frontends.keys().filter(|key| is_ballast(key)).copied().collect();
        if frontends.len() < BALLAST {
            return Self::default();
        }
        let filled = frontends.iter().find(|key| has_endpoint(image, key)).copied();
        Self { frontends, filled }
    }

    /// All of it is still there whose object is.
    pub(crate) fn assert_there(&self, image: &ServiceImage, server: &Server) {
        let exists = |key: &&FrontendKey| server.has(Kind::Service, &service_at(key));
        let mut there = self.frontends.iter().filter(exists);
        let lost = there.find(|key| !image.frontends.contains_key(*key));
        assert!(lost.is_none(), "a start lost {lost:?}, whose Service exists");
        let filled = self.filled.as_ref().filter(exists);
        let filled = filled.filter(|_| server.has(Kind::EndpointSlice, "b1-x"));
        let emptied = filled.filter(|key| !has_endpoint(image, key));
        assert!(emptied.is_none(), "a start emptied {emptied:?}, whose endpoint exists");
    }
}
