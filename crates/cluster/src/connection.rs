//! What both ends of a connection do alike.

use crate::frame;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// A frame that may go to many.
pub(crate) type Frame = Arc<Vec<u8>>;

/// The rhythm of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// From the connection to the first message.
    pub(crate) handshake: Duration,
    /// Between two pings.
    pub(crate) ping: Duration,
    /// After so much silence the other side is lost.
    pub(crate) silence: Duration,
    /// For what is still to be said at the end.
    pub(crate) farewell: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            handshake: Duration::from_secs(10),
            ping: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            farewell: Duration::from_secs(2),
        }
    }
}

/// Small messages at once, and an end to connections on which nothing is acknowledged.
pub(crate) fn prepare(stream: &TcpStream, timing: Timing) {
    // Both only make things faster: without them the ping still tells.
    let _ = stream.set_nodelay(true);
    let millis = timing.silence.as_millis() as u32;
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
}

/// A step that must not take longer.
pub(crate) async fn within<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(limit, step).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("nothing was heard for {} s", limit.as_secs_f64()),
        )),
    }
}

/// The next message, or why there is none.
pub(crate) async fn next<M: frame::Framed>(
    from: &mut (impl AsyncRead + Unpin),
    limit: usize,
    silence: Duration,
) -> Result<M, String> {
    match within(silence, frame::read(from, limit)).await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err("the other side has closed the connection".to_string()),
        Err(e) => Err(e.to_string()),
    }
}

/// Sends what comes, in order, until nobody can send any more; `ping` whenever there was nothing for a while.
pub(crate) async fn write_all(
    mut to: impl AsyncWrite + Unpin,
    mut frames: UnboundedReceiver<Frame>,
    ping: Option<Frame>,
    timing: Timing,
) -> io::Result<()> {
    loop {
        let frame = match &ping {
            None => frames.recv().await,
            Some(ping) => match timeout(timing.ping, frames.recv()).await {
                Ok(frame) => frame,
                Err(_) => Some(Arc::clone(ping)),
            },
        };
        let Some(frame) = frame else { break };
        within(timing.silence, to.write_all(&frame)).await?;
        within(timing.silence, to.flush()).await?;
    }
    within(timing.farewell, to.shutdown()).await
}
