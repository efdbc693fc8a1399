//! UDP datagrams with a destination of their own, and their replies.
//!
//! A socket remembers the first frontend it talks to in its own storage, further ones in CHOICES.
//! Most sockets know one frontend (a resolver), and storage is cheaper than a hash map and cannot be
//! evicted (ebpf/README.md has the figures).

use super::{
    Action, Request, SocketAddress, TableMut, Verdict,
    choose::choose,
    connect::{client, count, keep_affinity, may_come_in, translatable},
};
use crate::{
    addr::Addr,
    keys::ChoiceKey,
    records::{ChoiceValue, SocketRecord},
    words::SetWord,
};

/// sendmsg() with an address.
#[inline(always)]
pub fn sendmsg<T: TableMut>(tables: &T, request: &Request, random: u32, now: u32) -> Action {
    let own = tables.record();
    if own.connected() {
        if !tables.peer().is(&backend_of(&own)) {
            // No hook sees connect(AF_UNSPEC): this is the first that is heard of it.
            tables.forget_peer(request.socket);
        } else if frontend_of(&own).is(&request.to) {
            // A connected socket that names its own Service: the kernel takes its peer's replies only.
            return Action::Rewrite(backend_of(&own));
        }
    }
    let (frontend, set) = match translatable(tables, request) {
        Ok(found) => found,
        Err(verdict) => {
            count(tables, &verdict);
            return verdict.action(request);
        }
    };
    let (word, before) = kept(tables, request, &own);
    if before.port == 0 && !may_come_in(tables, request, frontend) {
        let verdict = Verdict::SourceRanges { service: frontend.service() };
        count(tables, &verdict);
        return verdict.action(request);
    }
    if before.port != 0 && set.count() != 0 && (word.0 == set.0 || tables.in_set(set, &before)) {
        if word.0 != set.0 || collides(&own, request, &before) {
            remember(tables, request, &own, set, &before);
        }
        return Action::Rewrite(before);
    }
    let verdict =
        choose(tables, client(request), request.to.addr.is_v4(), frontend, set, random, now);
    count(tables, &verdict);
    if let Verdict::Translate(choice) = &verdict {
        keep_affinity(tables, request, choice, now);
        if before.port != 0 {
            // Replies of the backend that is replaced may still be on their way.
            let reverse = ChoiceKey::reverse(request.socket, before.addr, before.port);
            tables.keep_choice(&reverse, &towards(request.to));
        }
        remember(tables, request, &own, choice.word, &choice.backend);
    }
    verdict.action(request)
}

/// Where a reply seems to come from, for the caller of recvmsg(); `None`: as it is.
#[inline(always)]
pub fn recvmsg<T: TableMut>(
    tables: &T,
    socket: u64,
    from: &SocketAddress,
) -> Option<SocketAddress> {
    // A socket without a record has never been translated.
    let record = tables.record();
    if record.is_none() {
        return None;
    }
    if backend_of(&record).is(from) {
        return Some(frontend_of(&record));
    }
    let choice = tables.choice(&ChoiceKey::reverse(socket, from.addr, from.port))?;
    Some(SocketAddress::new(choice.addr, choice.port))
}

/// What this socket uses for this frontend so far; port 0 when it is new to it.
#[inline(always)]
fn kept<T: TableMut>(
    tables: &T,
    request: &Request,
    own: &SocketRecord,
) -> (SetWord, SocketAddress) {
    let none = (SetWord(0), SocketAddress::new(Addr::ANY_V6, 0));
    if own.is_none() {
        return none;
    }
    // Also of a connection that is over: after connect(AF_UNSPEC) an IPv6 socket still takes replies
    // of its former peer only (the kernel clears the port and forgets the address).
    if frontend_of(own).is(&request.to) {
        return (own.word, backend_of(own));
    }
    let forward = ChoiceKey::forward(request.socket, request.to.addr, request.to.port);
    let Some(choice) = tables.choice(&forward) else { return none };
    let backend = SocketAddress::new(choice.addr, choice.port);
    // Each direction alone can rebuild the other. One that names another frontend of this socket
    // goes over to the one that is used now.
    let reverse = ChoiceKey::reverse(request.socket, backend.addr, backend.port);
    let named = match tables.choice(&reverse) {
        Some(choice) => SocketAddress::new(choice.addr, choice.port).is(&request.to),
        None => {
            tables.count_evicted();
            false
        }
    };
    if !named {
        tables.keep_choice(&reverse, &towards(request.to));
    }
    (choice.word, backend)
}

#[inline(always)]
fn remember<T: TableMut>(
    tables: &T,
    request: &Request,
    own: &SocketRecord,
    word: SetWord,
    backend: &SocketAddress,
) {
    if !own.is_none() {
        let first = !own.connected() && frontend_of(own).is(&request.to);
        // A record whose connection is over is free.
        let over = own.connected() && !tables.peer().is(&backend_of(own));
        if !first && !over {
            keep_both_ways(tables, request, word, backend);
            if !collides(own, request, backend) {
                return;
            }
            let former = ChoiceKey::forward(request.socket, own.frontend, own.frontend_port);
            let value = ChoiceValue {
                word: own.word,
                addr: own.backend,
                port: own.backend_port,
                reserved: [0; 3],
            };
            tables.keep_choice(&former, &value);
        }
    }
    tables.drop_record();
    let fresh = SocketRecord {
        word,
        frontend: request.to.addr,
        backend: backend.addr,
        frontend_port: request.to.port,
        backend_port: backend.port,
        flags: 0,
    };
    if !tables.keep_record(&fresh) {
        tables.count_untracked();
    }
}

/// Two frontends of one socket with one backend: a reply cannot tell them apart, so the one that was
/// used last owns the record.
#[inline(always)]
fn collides(own: &SocketRecord, request: &Request, backend: &SocketAddress) -> bool {
    !own.connected() && backend_of(own).is(backend) && !frontend_of(own).is(&request.to)
}

#[inline(always)]
fn keep_both_ways<T: TableMut>(
    tables: &T,
    request: &Request,
    word: SetWord,
    backend: &SocketAddress,
) {
    let forward = ChoiceKey::forward(request.socket, request.to.addr, request.to.port);
    let value = ChoiceValue { word, addr: backend.addr, port: backend.port, reserved: [0; 3] };
    tables.keep_choice(&forward, &value);
    let reverse = ChoiceKey::reverse(request.socket, backend.addr, backend.port);
    tables.keep_choice(&reverse, &towards(request.to));
}

#[inline(always)]
fn towards(frontend: SocketAddress) -> ChoiceValue {
    ChoiceValue { word: SetWord(0), addr: frontend.addr, port: frontend.port, reserved: [0; 3] }
}

#[inline(always)]
fn frontend_of(record: &SocketRecord) -> SocketAddress {
    SocketAddress::new(record.frontend, record.frontend_port)
}

#[inline(always)]
fn backend_of(record: &SocketRecord) -> SocketAddress {
    SocketAddress::new(record.backend, record.backend_port)
}
