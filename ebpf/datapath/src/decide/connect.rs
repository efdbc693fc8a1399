//! connect(): TCP and connected UDP.

use super::{
    Action, Choice, Count, Request, TableMut, Tables, Verdict,
    choose::choose,
    lookup::{Found, find},
};
use crate::{
    addr::Addr,
    keys::{AffinityKey, protocol},
    records::{AffinityValue, SocketRecord},
    words::{FrontendWord, SetWord},
};

/// Where a new flow goes. Writes nothing.
#[inline(always)]
pub fn connect<T: Tables>(tables: &T, request: &Request, random: u32, now: u32) -> Verdict {
    match translatable(tables, request) {
        Ok((frontend, ..)) if !may_come_in(tables, request, frontend) => {
            Verdict::SourceRanges { service: frontend.service() }
        }
        Ok((frontend, set)) => {
            choose(tables, client(request), request.to.addr.is_v4(), frontend, set, random, now)
        }
        Err(verdict) => verdict,
    }
}

/// A pod (or the host) is its network namespace.
#[inline(always)]
pub(super) const fn client(request: &Request) -> Addr {
    AffinityKey::of_namespace(request.netns, 0).client
}

/// The frontend and the set in force, or why there is nothing to choose from. Whether source ranges keep the
/// socket out of it is for the caller to ask: they do no more once it talks to the frontend.
#[inline(always)]
pub(super) fn translatable<T: Tables>(
    tables: &T,
    request: &Request,
) -> Result<(FrontendWord, SetWord), Verdict> {
    let word = match find(tables, request) {
        Found::Frontend(word) => word,
        Found::NoneThere(word) => {
            return Err(Verdict::NoLocalEndpoint { service: word.service() });
        }
        Found::Guarded => return Err(Verdict::UnknownPort),
        Found::HostOnly => return Err(Verdict::HostOnly),
        Found::Nothing => return Err(Verdict::Untouched),
    };
    if word.has(FrontendWord::OWN_DNS) && tables.own_dns() {
        return Err(Verdict::OwnDns { service: word.service() });
    }
    Ok((word, tables.set_word(word.service(), word.set())))
}

/// May this socket begin to talk to a frontend? Where that has source ranges, the address that the socket will
/// have must be in them. Of the host's it is known: what the socket is
/// bound to, or the node's. A pod's is not: its packets are judged.
#[inline(always)]
pub(super) fn may_come_in<T: Tables>(tables: &T, request: &Request, word: FrontendWord) -> bool {
    if !word.has(FrontendWord::SOURCE_RANGES) {
        return true;
    }
    if request.netns != tables.config().host_netns {
        return false;
    }
    if request.from.is(&request.from.any_of_family()) {
        return word.has(FrontendWord::NODE_IN_RANGES);
    }
    tables.in_ranges(word.service(), &request.from)
}

/// Writes what follows from a connect's verdict: counters, affinity, the socket's record.
///
/// A record of an earlier connect() on the same socket goes away with every other answer:
/// getpeername would go on naming a Service that the socket has left.
#[inline(always)]
pub fn settle_connect<T: TableMut>(
    tables: &T,
    request: &Request,
    verdict: &Verdict,
    now: u32,
) -> Action {
    count(tables, verdict);
    tables.drop_record();
    if let Verdict::Translate(choice) = verdict {
        keep_affinity(tables, request, choice, now);
        let record = SocketRecord {
            word: choice.word,
            frontend: request.to.addr,
            backend: choice.backend.addr,
            frontend_port: request.to.port,
            backend_port: choice.backend.port,
            flags: SocketRecord::CONNECTED,
        };
        if !tables.keep_record(&record) {
            tables.count_untracked();
        }
        if request.protocol == protocol::UDP {
            tables.note_peer(request.socket, &choice.backend);
        }
    } else if request.protocol == protocol::UDP {
        // It may go to that very backend now, by its own address: then it is not ours to end.
        tables.forget_peer(request.socket);
    }
    verdict.action(request)
}

/// New flows refresh affinity, whether they follow it or begin it (services.md 1.5).
#[inline(always)]
pub(super) fn keep_affinity<T: TableMut>(tables: &T, request: &Request, choice: &Choice, now: u32) {
    if choice.affinity != 0 {
        let key = AffinityKey::of_namespace(request.netns, choice.affinity);
        let (addr, port) = (choice.backend.addr, choice.backend.port);
        tables.keep_affinity(&key, &AffinityValue { addr, port, reserved: 0, used: now });
    }
}

/// One flow, one counter.
#[inline(always)]
pub(super) fn count<T: TableMut>(tables: &T, verdict: &Verdict) {
    match verdict {
        Verdict::Translate(choice) => tables.count(choice.service, Count::Translated),
        Verdict::NoEndpoint { service } => tables.count(*service, Count::Refused),
        Verdict::NoLocalEndpoint { service } => tables.count(*service, Count::NoLocal),
        Verdict::SourceRanges { service } => tables.count(*service, Count::Untranslated),
        Verdict::UnknownPort => tables.count_unknown_port(),
        Verdict::Untouched
        | Verdict::HostOnly
        | Verdict::OwnDns { .. }
        | Verdict::Damaged { .. } => {}
    }
}
