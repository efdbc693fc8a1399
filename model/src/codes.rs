//! Stable codes of problems: what an alert, a search or a page of the documentation can name.
//!
//! One table for the whole product. The thousands say whose it is: TP1 this node, TP2 the API and the
//! configuration, TP3 Services, TP4 neighbours, TP5 packets, TP6 DNS, TP7 policy, TP8 ingress. A code
//! keeps its meaning for ever: a row that goes leaves its number unused.

use std::fmt;

/// For each code: its number, and what it says in one sentence.
macro_rules! codes {
    ($($code:ident $number:literal $title:literal)*) => {
        /// What kind of problem something is.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code {
            $(#[doc = $title] $code = $number,)*
        }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// One sentence, without the object's name.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$code => $title,)*
                }
            }
        }
    };
}

codes! {
    OwnNodeMissing 1001 "The Node object of this node is not in the cluster."
    NodeAddressesUnreadable 1002 "The addresses of this node cannot be read over netlink."
    ProgramsNotHealed 1003 "Kernel programs that were removed cannot be attached again."
    NoGracePeriod 1004 "The kernel gives no grace periods, so nothing can be used again."
    WriteRefused 1005 "The kernel refused to write what an object asks for."

    ObjectUnreadable 2001 "An object cannot be read at all."
    FieldUnusable 2002 "A field of an object has a value that cannot be used."
    UnknownField 2003 "An object has a field that does not exist."
    ListUnreadable 2004 "A list from the API server cannot be read."
    StreamEnds 2005 "A watch of the API server ends again and again, or is refused."
    StreamBroke 2006 "What watches a kind of object broke down and was started again."
    RemovalHeld 2007 "A list would remove many objects at once and waits for a second one."
    Credentials 2008 "The credentials for the API server cannot be used."
    AddressFile 2009 "The file that remembers the API server's addresses cannot be used."
    ApiAddressesCut 2010 "The API server has more addresses than are used."
    ClusterUnconfirmed 2011 "Which cluster the API server belongs to could not be confirmed."
    ManifestUnreadable 2012 "A file or directory of manifests cannot be read."
    ManifestRefused 2013 "An object in manifests asks for what an API server would refuse."
    NothingToAllocate 2014 "No address or port is left to allocate."

    ServiceNotServed 3001 "A Service, or a part of it, asks for what is not served."
    HealthPortTaken 3002 "A health check port belongs to an older Service."
    FrontendTaken 3003 "An address and port belong to an older Service."
    ServiceTooLarge 3004 "A Service needs more room than one Service may have."
    IdentityTaken 3005 "The ports of two Services have names with one hash."
    NodeAddressesFull 3006 "The map of node addresses is full."
    ServiceUnread 3007 "A Service could not be read since the start; what may be its own is kept."
    StartDoubted 3008 "The first lists would remove much that the kernel holds; it is kept."

    NoWayIn 5001 "No device of this node has an address and brings packets from outside."
    NotForwarding 5002 "This node does not forward packets of a family that it has an address of."
    FlowsFull 5003 "The flow table is nearly full, or no port is left for a source."

    NameImpossible 6001 "A Service has a name, or an external name, that DNS cannot have."
    DnsAddressNotServed 6002 "An address of cluster DNS cannot be served by this node."
    NameserverUnusable 6003 "A server for names outside the cluster is missing, or leads back here."

    PolicyRefused 7001 "NetworkPolicies need more room than there is; those of before stay in force."
    PodWithoutDevice 7002 "An isolated pod of this node has no device that is certainly its own."
    DevicesUnreadable 7003 "The devices of pods cannot be read over netlink."

    RouteTaken 8001 "A host and path, or a host's certificate, belong to an older Ingress."
    BackendMissing 8002 "An Ingress leads to a Service or port that is not there or cannot be used."
    AnnotationIgnored 8004 "An annotation of an Ingress is not honoured; requests are served without it."
    RouteClosed 8005 "An annotation that restricts or changes requests is not honoured: routes are closed."
    RouteUnusable 8006 "A host or path of an Ingress cannot be used."
    CertificateMissing 8007 "The Secret of a certificate is not there, or holds none that can be served."
    CertificateOtherName 8008 "A certificate is not made out to a host that it is served for."
    CertificatesCut 8009 "More Secrets with certificates are named than are read."
    IngressPortTaken 8010 "An address and port of Ingress cannot be had on this node."
}

impl fmt::Display for Code {
    /// As in `TP3001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TP{}", *self as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn the_numbers_go_up_and_have_four_digits() {
        let numbers: Vec<u16> = Code::ALL.iter().map(|code| *code as u16).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(numbers.iter().all(|number| (1000..9000).contains(number)), "{numbers:?}");
    }

    #[test]
    fn every_title_is_a_sentence() {
        for code in Code::ALL {
            let title = code.title();
            assert!(title.ends_with('.') && title.len() > 20, "{code}: {title:?}");
        }
    }

    #[test]
    fn a_code_is_written_with_its_prefix() {
        assert_eq!(Code::ServiceNotServed.to_string(), "TP3001");
    }

    /// The page for users has each code with its title, and no others.
    #[test]
    fn the_documentation_lists_exactly_these_codes() {
        let page = include_str!("../../docs/codes.md");
        let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| TP")).collect();
        let expected: Vec<String> =
            Code::ALL.iter().map(|code| format!("| {code} | {} |", code.title())).collect();
        assert_eq!(listed, expected, "docs/codes.md");
    }
}
