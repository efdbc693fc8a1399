//! What has left HTTP: bytes in both directions.

use std::{cell::Cell, io, pin::pin, rc::Rc, time::Duration};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::Instant,
};

use towpath_route::Times;

use crate::proxy::Connection;

/// Quiet for so long, a tunnel ends, unless its route waits longer for other answers. Apart from the gaps of bodies: a WebSocket may be quiet for minutes.
const IDLE: Duration = Duration::from_secs(3600);
/// After one end said that it is done, the other one's bytes are waited for so long.
const HALF_CLOSED: Duration = Duration::from_secs(60);
/// Time between two looks at whether it is quiet.
const LOOK: Duration = Duration::from_secs(20);

/// Passes bytes on in both directions until both ends are done, one fails, or all is quiet. The
/// connection counts as open until then: a stop waits for it.
pub(crate) async fn join(
    connection: Rc<Connection>,
    client: OnUpgrade,
    endpoint: OnUpgrade,
    times: Times,
) {
    let (Ok(client), Ok(endpoint)) = tokio::join!(client, endpoint) else { return };
    let tunnels = connection.worker.metrics.tunnels.clone();
    tunnels.inc();
    let idle = IDLE.max(times.read).max(times.send);
    copy_until_quiet(&mut TokioIo::new(client), &mut TokioIo::new(endpoint), idle).await;
    tunnels.dec();
}

async fn copy_until_quiet<A, B>(one: &mut A, other: &mut B, idle: Duration)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_one, mut to_one) = tokio::io::split(one);
    let (mut from_other, mut to_other) = tokio::io::split(other);
    let progress = Progress { moved: Cell::new(Instant::now()), half: Cell::new(false) };
    let both = async {
        tokio::try_join!(
            copy(&mut from_one, &mut to_other, &progress),
            copy(&mut from_other, &mut to_one, &progress)
        )
    };
    let mut both = pin!(both);
    loop {
        tokio::select! {
            // How it ended is for its two ends to know.
            _ended = both.as_mut() => return,
            () = tokio::time::sleep(LOOK) => if progress.is_quiet(idle) { return },
        }
    }
}

struct Progress {
    moved: Cell<Instant>,
    /// One end is done.
    half: Cell<bool>,
}

impl Progress {
    fn is_quiet(&self, idle: Duration) -> bool {
        self.moved.get().elapsed() >= if self.half.get() { HALF_CLOSED } else { idle }
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    progress: &Progress,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        progress.moved.set(Instant::now());
        if count == 0 {
            progress.half.set(true);
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
        to.flush().await?;
    }
}
