//! `resolv.conf` of the node: who is asked for names that are not the cluster's.

use std::net::{IpAddr, SocketAddr};

/// CoreDNS takes so many upstreams.
const MOST: usize = 15;

/// What a `resolv.conf` says of servers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResolvConf {
    /// Servers, in order.
    pub servers: Vec<SocketAddr>,
    /// Servers that were left out: they lead back here.
    pub looped: Vec<IpAddr>,
}

/// Reads the text. `own`: addresses at which this server answers; asking there would be a circle.
#[must_use]
pub fn read(text: &str, own: &[IpAddr]) -> ResolvConf {
    let mut found = ResolvConf::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("nameserver"), Some(word)) = (words.next(), words.next()) else { continue };
        let Ok(address) = word.parse::<IpAddr>() else { continue };
        if own.contains(&address) {
            found.looped.push(address);
        } else if found.servers.len() < MOST {
            let server = SocketAddr::new(address, 53);
            if !found.servers.contains(&server) {
                found.servers.push(server);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_in_order_without_circles() {
        let own = ["10.96.0.10".parse().unwrap()];
        let text = "# a\nnameserver 192.0.2.1\nsearch x\nnameserver\t2001:db8::1 \nnameserver \
                    10.96.0.10\nnameserver 192.0.2.1\nnameserver no\n;nameserver 192.0.2.9\n";
        let found = read(text, &own);
        let servers = ["192.0.2.1:53", "[2001:db8::1]:53"].map(|s| s.parse().unwrap());
        assert_eq!(found, ResolvConf { servers: servers.into(), looped: own.into() });
        assert_eq!(read(&"nameserver 192.0.2.1\n".repeat(40), &[]).servers.len(), 1);
    }
}
