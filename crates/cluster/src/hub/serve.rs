//! Connections from outside: nobody gets further than the handshake without the secret.

use super::{Input, Outbox, wait_for_all};
use crate::connection::{self, Frame, Timing, within};
use crate::coordinator::{Event, Key};
use crate::frame::{self, MAX_HELLO_LEN, MAX_LEN};
use crate::message::{Hello, Order, Ping, Report};
use rustls::ServerConfig;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections that have not proved yet that they are members, at a time. More wait in the kernel.
const STRANGERS: usize = 1024;

/// Accepts connections.
pub(super) struct Server {
    shared: Arc<Shared>,
    hold: UnboundedSender<()>,
    alive: UnboundedReceiver<()>,
    listening: JoinSet<()>,
    timing: Timing,
}

struct Shared {
    tls: TlsAcceptor,
    inputs: UnboundedSender<Input>,
    /// Each connection of a member has a clone.
    alive: WeakUnboundedSender<()>,
    strangers: Arc<Semaphore>,
    next_key: AtomicU64,
    ping: Option<Frame>,
    timing: Timing,
}

impl Server {
    pub(super) fn new(tls: Arc<ServerConfig>, inputs: UnboundedSender<Input>, timing: Timing) -> Server {
        let (hold, alive) = unbounded_channel();
        let shared = Shared {
            tls: TlsAcceptor::from(tls),
            inputs,
            alive: hold.downgrade(),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            // 0 is the local agent.
            next_key: AtomicU64::new(1),
            ping: frame::encode(Order::Ping(Ping {})).ok().map(Arc::new),
            timing,
        };
        Server {
            shared: Arc::new(shared),
            hold,
            alive,
            listening: JoinSet::new(),
            timing,
        }
    }

    pub(super) fn put(&self, event: Event) {
        let _ = self.shared.inputs.send(Input::Event(event));
    }

    pub(super) fn listen(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.listening.spawn(async move {
            // Fails only where a descriptor cannot be watched.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                accept(listener, shared).await;
            }
        });
    }

    /// Lets what is still to be said be said.
    pub(super) async fn finish(mut self) {
        self.listening.shutdown().await;
        let limit = self.timing.farewell;
        drop(self.hold);
        wait_for_all(self.alive, limit).await;
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok(permit) = Arc::clone(&shared.strangers).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(greet(stream, permit, Arc::clone(&shared)));
            }
            // A connection that was gone again, or no descriptor is left: others may end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// From a stranger to a member, or nothing.
async fn greet(stream: TcpStream, permit: OwnedSemaphorePermit, shared: Arc<Shared>) {
    connection::prepare(&stream, shared.timing);
    let handshake = async {
        let mut stream = shared.tls.accept(stream).await?;
        match frame::read(&mut stream, MAX_HELLO_LEN).await? {
            Some(Report::Hello(hello)) => Ok((stream, hello)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    // A stranger is told nothing.
    let Ok((stream, hello)) = within(shared.timing.handshake, handshake).await else {
        return;
    };
    drop(permit);
    serve(stream, hello, &shared).await;
}

async fn serve(stream: TlsStream<TcpStream>, hello: Hello, shared: &Shared) {
    let (inputs, timing) = (shared.inputs.clone(), shared.timing);
    let key = Key(shared.next_key.fetch_add(1, Ordering::Relaxed));
    let (mut from, to) = tokio::io::split(stream);
    let (outbox, frames) = unbounded_channel();
    let _ = inputs.send(Input::Joined(key, Outbox::Remote(outbox), hello));
    let _alive = shared.alive.upgrade();
    let writer = tokio::spawn(connection::write_all(to, frames, shared.ping.clone(), timing));
    let reason = loop {
        match connection::next::<Report>(&mut from, MAX_LEN, timing.silence).await {
            Ok(Report::Pong(_)) => (),
            Ok(report) => drop(inputs.send(Input::Event(Event::Received(key, report)))),
            Err(reason) => break reason,
        }
    };
    writer.abort();
    let _ = inputs.send(Input::Event(Event::Lost(key, reason)));
}
