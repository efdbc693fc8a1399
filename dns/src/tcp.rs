//! TCP: messages after their length, several at a time on one connection (RFC 7766).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use towpath_zone::Transport;

use crate::server::{Asked, Shared, Turn};

/// Accepts until stopped.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a DNS connection could not be accepted");
                // Out of descriptors: trying at once would only turn in a circle.
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = shared.connections.take(client.ip()) else {
            shared.metrics.limited("connections");
            continue;
        };
        let (shared, mut stopped) = (Arc::clone(&shared), stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, client, shared) => {}
                _ = stopped.changed() => {}
            }
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%client, %error, "a DNS connection is slower than it could be");
    }
    let (read, write) = stream.into_split();
    let (replies, waiting) = mpsc::channel(shared.limits.pipelined);
    // The writer ends when the last question that waits is answered.
    tokio::join!(
        questions(read, client, Arc::clone(&shared), replies),
        writer(write, waiting, shared.limits.idle)
    );
}

/// Reads questions until the client is silent or gone.
async fn questions(
    mut read: OwnedReadHalf,
    client: SocketAddr,
    shared: Arc<Shared>,
    replies: mpsc::Sender<Vec<u8>>,
) {
    let mut out = vec![0; usize::from(u16::MAX)];
    let mut message = Vec::new();
    loop {
        let next = async {
            let length = read.read_u16().await?;
            message.resize(length.into(), 0);
            read.read_exact(&mut message).await
        };
        let Ok(Ok(_)) = timeout(shared.limits.idle, next).await else { return };
        // A place for the reply first: a client that reads nothing is read no more from.
        let Ok(place) = replies.clone().reserve_owned().await else { return };
        let asked = Asked { message: &message, client, transport: Transport::Tcp };
        match shared.turn(&asked, &mut out) {
            Turn::Drop => {}
            Turn::Reply(length) => {
                place.send(out.get(..length).unwrap_or_default().to_vec());
            }
            Turn::Written(reply) => {
                place.send(reply);
            }
            Turn::Wait(waiting) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Some(reply) = shared.wait(waiting).await {
                        place.send(reply);
                    }
                });
            }
        }
    }
}

async fn writer(mut write: OwnedWriteHalf, mut replies: mpsc::Receiver<Vec<u8>>, idle: Duration) {
    while let Some(reply) = replies.recv().await {
        let Ok(length) = u16::try_from(reply.len()) else { continue };
        let bytes = [&length.to_be_bytes()[..], &reply].concat();
        // A client that takes nothing for so long is gone.
        let Ok(Ok(())) = timeout(idle, write.write_all(&bytes)).await else { return };
    }
}
