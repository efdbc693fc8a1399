//! A UDP socket, on a thread of its own.

use std::{io::ErrorKind, net::UdpSocket, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch};
use towpath_zone::Transport;

use crate::{
    pulse::Pulse,
    server::{Asked, Shared, Turn},
};

/// How often the thread looks whether it is to stop, and says that it lives.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// Larger than any reply over UDP, and than the CNAMEs that a question may begin with.
const BUFFER: usize = 4096;

/// Serves until stopped.
pub(crate) fn serve(
    socket: &Arc<UdpSocket>,
    shared: &Arc<Shared>,
    stopped: &watch::Receiver<bool>,
    mut pulse: Option<Box<dyn Pulse>>,
    runtime: &Handle,
) {
    let (mut message, mut out) = ([0; BUFFER], [0; BUFFER]);
    while !*stopped.borrow() {
        // After each message, and at least each time that none came: what does not get here does not serve.
        if let Some(pulse) = pulse.as_mut().filter(|_| shared.servable()) {
            pulse.beat();
        }
        let (length, client) = match socket.recv_from(&mut message) {
            Ok(received) => received,
            // Also the echo of a reply that could not be delivered.
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) {
                    tracing::debug!(%error, "receiving a question failed");
                }
                continue;
            }
        };
        let message = message.get(..length).unwrap_or_default();
        let asked = Asked { message, client, transport: Transport::Udp };
        match shared.turn(&asked, &mut out) {
            Turn::Drop => {}
            Turn::Reply(length) => send(socket, out.get(..length).unwrap_or_default(), client),
            Turn::Written(reply) => send(socket, &reply, client),
            Turn::Wait(waiting) => {
                let (shared, replies) = (Arc::clone(shared), Arc::clone(socket));
                runtime.spawn(async move {
                    if let Some(reply) = shared.wait(waiting).await {
                        send(&replies, &reply, client);
                    }
                });
            }
        }
    }
}

fn send(socket: &UdpSocket, reply: &[u8], client: std::net::SocketAddr) {
    if let Err(error) = socket.send_to(reply, client) {
        tracing::debug!(%client, %error, "a reply could not be sent");
    }
}
