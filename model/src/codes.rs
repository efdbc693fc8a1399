//! Stable codes of problems: what an alert, a search or a page of the documentation can name.
//!
//! One table for the whole product. The thousands say whose it is: TP1 this node, TP2 the API and the
//! configuration, TP3 Services, TP4 neighbours, TP5 packets, TP6 DNS, TP7 policy, TP8 ingress. A code
//! keeps its meaning for ever: a row that goes leaves its number unused.

use std::fmt;

/// For each code: its number, what it says in one sentence, and what holds meanwhile and what to do.
macro_rules! codes {
    ($($code:ident $number:literal $title:literal $advice:literal)*) => {
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

            /// What holds while there is such a problem, and what to do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$code => $advice,)*
                }
            }
        }
    };
}

codes! {
    OwnNodeMissing 1001 "The Node object of this node is not in the cluster."
        "Zone and addresses of this node are unknown: no endpoint is preferred for its zone. Set \
         nodeName to the name of the Node object, or register the node."
    NodeAddressesUnreadable 1002 "The addresses of this node cannot be read over netlink."
        "Nothing is routed anew, and node ports stay on the addresses that were known. Allow \
         NETLINK_ROUTE sockets (seccomp profile); it is tried again every second."
    ProgramsNotHealed 1003 "Kernel programs that were removed cannot be attached again."
        "What such a program would translate or judge passes as if Towpath were not there; it is tried \
         again every 10 seconds. Look for another tool that detaches programs."
    NoGracePeriod 1004 "The kernel gives no grace periods, so nothing can be used again."
        "Everything goes on, but elements of maps are not used again, and the maps fill up. Let \
         the daemon call membarrier(2) and bpf(2) (seccomp profile, CAP_BPF)."
    WriteRefused 1005 "The kernel refused to write what an object asks for."
        "What was in force before stays, and the write is tried again. The text has the map and \
         the kernel's error; a map that is full is made larger in the configuration."
    ProgramNotAttached 1006 "A kernel program cannot be brought into force."
        "What it would translate or judge passes as if Towpath were not there, or as the program \
         before decides; it is tried again every second. `towpath check` says what the kernel \
         lacks."
    ProgramsWithheld 1007 "The programs of another version stay in force, whose maps cannot be read."
        "Traffic goes on as that version left it, and changes wait until everything is listed and \
         written. See that the API server answers, and allows each list."

    ObjectUnreadable 2001 "An object cannot be read at all."
        "The last version that could be read stays in force, if there was one. Correct the object \
         as the text says."
    FieldUnusable 2002 "A field of an object has a value that cannot be used."
        "The text says what counts in place of the field. Correct the field."
    UnknownField 2003 "An object has a field that does not exist."
        "The field is ignored. Correct its name; the text has the nearest one that exists."
    ListUnreadable 2004 "A list from the API server cannot be read."
        "What is in force stays, and the list is asked for again. Look at what is between the \
         daemon and the API server."
    StreamEnds 2005 "A watch of the API server ends again and again, or is refused."
        "What is in force stays; changes of this kind come late or not at all. Where the API \
         server answers 403, grant what the text names; else look at the API server."
    StreamBroke 2006 "What watches a kind of object broke down and was started again."
        "What is in force stays, and the kind is listed anew. This is a defect of Towpath: report \
         it with the log."
    RemovalHeld 2007 "A list would remove many objects at once and waits for a second one."
        "Nothing is removed until a second list agrees. Where the objects really went, there is \
         nothing to do; else look at the storage of the API server."
    Credentials 2008 "The credentials for the API server cannot be used."
        "The credentials that were read before stay in use. Correct the kubeconfig, the token or \
         the plugin that the text names."
    AddressFile 2009 "The file that remembers the API server's addresses cannot be used."
        "Until the next start everything goes on; then the API server is looked for at its \
         configured address only. Make the directory writable."
    ApiAddressesCut 2010 "The API server has more addresses than are used."
        "The first addresses are used. Look at what writes the EndpointSlices of Service \
         default/kubernetes: it has one endpoint for each API server."
    ClusterUnconfirmed 2011 "Which cluster the API server belongs to could not be confirmed."
        "The maps stay as they are until the API server says which cluster it is, or the daemon \
         may ask. Look at the API server; `towpath cleanup` lets go of another cluster's maps."
    ManifestUnreadable 2012 "A file or directory of manifests cannot be read."
        "The objects that were read before stay. Make the file readable, or correct what the text \
         says of it."
    ManifestRefused 2013 "An object in manifests asks for what an API server would refuse."
        "The object is refused, as an API server would refuse it; a version that was accepted \
         before stays. Correct the field."
    NothingToAllocate 2014 "No address or port is left to allocate."
        "The object has no address or port. Write one into it, or delete objects that are not \
         needed."
    ManifestNotKept 2015 "What a file of manifests holds cannot be kept over a restart."
        "What is in force stays. A daemon that starts while the file is broken takes away what the \
         file brought: make room in the run directory, or make it writable."

    ServiceNotServed 3001 "A Service, or a part of it, asks for what is not served."
        "Everything else of the Service is served. The text says which part is not, and what to \
         use in its place."
    HealthPortTaken 3002 "A health check port belongs to an older Service."
        "The older Service keeps the port. Give the newer one another healthCheckNodePort."
    FrontendTaken 3003 "An address and port belong to an older Service."
        "The older Service keeps the address and port; the other frontends of the newer one are \
         served. Change one of the two."
    ServiceTooLarge 3004 "A Service needs more room than one Service may have."
        "The Service is served as far as its share of the maps goes. Split it, or raise the \
         capacity that the text names."
    IdentityTaken 3005 "The ports of two Services have names with one hash."
        "The newer Service is not served, so that neither is harmed. Give it or its ports other \
         names."
    NodeAddressesFull 3006 "The map of node addresses is full."
        "Node ports are not reached at the addresses without room. Raise the map's capacity in \
         the configuration and restart."
    ServiceUnread 3007 "A Service could not be read since the start; what may be its own is kept."
        "Frontends that no other Service claims stay as the daemon before left them. Correct the \
         Service or delete it."
    StartDoubted 3008 "The first lists would remove much that the kernel holds; it is kept."
        "Nothing that the kernel holds is removed until a second list agrees. Where the objects \
         really went, there is nothing to do."

    NoWayIn 5001 "No device of this node has an address and brings packets from outside."
        "Packets from outside are not translated. Run the daemon in the host's network namespace \
         (hostNetwork: true)."
    NotForwarding 5002 "This node does not forward packets of a family that it has an address of."
        "Packets from outside reach no pod in that family. Set the sysctl that the text names."
    FlowsFull 5003 "The flow table is nearly full, or no port is left for a source."
        "A flow that finds no room or no port is dropped; those that are there go on. Look for a \
         client that opens connections without end; more nodes share the load."

    NameImpossible 6001 "A Service has a name, or an external name, that DNS cannot have."
        "That name is not answered; all others are. Rename the object, or correct the external \
         name."
    DnsAddressNotServed 6002 "An address of cluster DNS cannot be served by this node."
        "Pods of this node are answered by the endpoints of the Service. Free the port on this \
         node; it is tried again."
    NameserverUnusable 6003 "A server for names outside the cluster is missing, or leads back here."
        "Names outside the cluster are answered by the servers that are left, or with SERVFAIL. \
         Correct dns.upstreams, or the file that dns.resolvConf names."
    ZoneFromDisk 6004 "Names of the cluster are answered as an earlier daemon knew them."
        "What was deleted since is answered with its old addresses, and what was created is not. \
         It ends when everything is listed: look at the API server."
    ZoneNotKept 6005 "The zone that is kept on disk for a restart cannot be read or written."
        "Names are answered as ever; a daemon that starts without an API server knows none. Make \
         the run directory writable; a file that is damaged is written anew."

    PolicyRefused 7001 "NetworkPolicies need more room than there is; those of before stay in force."
        "The verdicts of before stay in force, and new pods are closed. Select fewer peers, or \
         raise the capacity."
    PodWithoutDevice 7002 "An isolated pod of this node has no device that is certainly its own."
        "Nothing but its own node reaches the pod by a device that is not known. While the pod \
         starts there is nothing to do; a pod without a pair of devices cannot be isolated."
    DevicesUnreadable 7003 "The devices of pods cannot be read over netlink."
        "New pods stay closed, and known devices as they are. Allow NETLINK_ROUTE sockets \
         (seccomp profile); it is tried again every second."
    IsolationHeld 7004 "The first lists would open many isolated pods, or all of them; they stay closed."
        "What was in force stays until second lists agree, which are asked for at once, and new pods \
         are closed. If it stays so, the API server cannot be listed: see the streams in `towpath status`."

    RouteTaken 8001 "A host and path, or a host's certificate, belong to an older Ingress."
        "The older Ingress keeps the host and path. Remove the rule from one of the two."
    BackendMissing 8002 "An Ingress leads to a Service or port that is not there or cannot be used."
        "Requests of that path are answered with 503. Name a Service and a port of it; it is \
         served as soon as it is there."
    AnnotationIgnored 8004 "An annotation of an Ingress is not honoured; requests are served without it."
        "Requests are served as if the annotation were not there. Remove it, or write it as the \
         text says."
    RouteClosed 8005 "An annotation that restricts or changes requests is not honoured: routes are closed."
        "Requests of these routes are answered with 503: to serve them without the restriction \
         would be worse. Remove the annotation, or replace it as the text says."
    RouteUnusable 8006 "A host or path of an Ingress cannot be used."
        "All other hosts and paths are served. Correct the one that the text names."
    CertificateMissing 8007 "The Secret of a certificate is not there, or holds none that can be served."
        "TLS clients of these hosts get the certificate that was read before, or the default one. \
         Make the Secret of type kubernetes.io/tls, with tls.crt and tls.key in PEM."
    CertificateOtherName 8008 "A certificate is not made out to a host that it is served for."
        "The certificate is served, and clients refuse it. Have the host put into the \
         certificate, or name another Secret."
    CertificatesCut 8009 "More Secrets with certificates are named than are read."
        "Hosts of Secrets that are not read get the default certificate. Let hosts share a \
         certificate."
    IngressPortTaken 8010 "An address and port of Ingress cannot be had on this node."
        "Requests at that address and port do not reach Towpath; all other ports are served. Free \
         the port, or configure another one."
    StatusForbidden 8011 "The status of Ingresses cannot be written: a right is missing."
        "Requests are served, and statuses stay as they are. Allow this daemon's account what the \
         text names; it is tried again."
    NothingToPublish 8012 "The Service whose addresses Ingresses shall show has none, or is not there."
        "Requests are served, and statuses stay as they are. Give the Service an address, or name \
         another one in ingress.publishService."
    ReferenceMissing 8013 "An object that an annotation names is not there, or lacks what is asked of it."
        "What was read of it before stays in force; where nothing was, requests that need it are \
         answered with 503. Make the object as the text says, or correct the annotation."
}

impl Code {
    /// The code that is written so: `TP3001`, in any case, with or without its letters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let letters = text.get(..2).filter(|letters| letters.eq_ignore_ascii_case("TP"));
        let digits = letters.and_then(|letters| text.strip_prefix(letters)).unwrap_or(text);
        let number: u16 = digits.parse().ok()?;
        Self::ALL.iter().copied().find(|code| *code as u16 == number)
    }
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
    fn every_title_and_advice_is_a_sentence() {
        for code in Code::ALL {
            for text in [code.title(), code.advice()] {
                assert!(text.ends_with('.') && text.len() > 20, "{code}: {text:?}");
                assert!(!text.contains("  ") && !text.contains('|'), "{code}: {text:?}");
            }
        }
    }

    #[test]
    fn a_code_is_written_with_its_prefix_and_read_without() {
        assert_eq!(Code::ServiceNotServed.to_string(), "TP3001");
        for code in Code::ALL {
            assert_eq!(Code::parse(&code.to_string()), Some(*code));
        }
        for text in ["tp3001", " 3001 ", "Tp3001"] {
            assert_eq!(Code::parse(text), Some(Code::ServiceNotServed), "{text:?}");
        }
        for text in ["", "T", "TP", "TP9999", "TP-3001", "TP\u{e9}", "\u{e9}", "3001x", "99999"] {
            assert_eq!(Code::parse(text), None, "{text:?}");
        }
    }

    /// The page for users has each code with its title and advice, and no others.
    #[test]
    fn the_documentation_lists_exactly_these_codes() {
        let page = include_str!("../../docs/codes.md");
        let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| TP")).collect();
        let row = |code: &Code| format!("| {code} | {} | {} |", code.title(), code.advice());
        let expected: Vec<String> = Code::ALL.iter().map(row).collect();
        assert_eq!(listed, expected, "docs/codes.md");
    }
}
