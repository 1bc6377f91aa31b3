//! An agent's side of its connection to the coordinator.

use crate::connection::{self, Frame, Timing, within};
use crate::coordinator::{Event, LOCAL};
use crate::frame::{self, MAX_LEN};
use crate::hub::Input;
use crate::mailbox::Mailbox;
use crate::message::{Hello, Order, Pong, Report};
use crate::{Error, Result, Secret, tls};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection to the coordinator, in the same process or elsewhere. To be used from a thread that blocks: its
/// descriptor is readable while an order waits. Dropped, what was sent still arrives.
///
/// A remote one has a thread, which answers pings and inherits the signal mask.
#[derive(Debug)]
pub struct Link {
    pub(crate) orders: Mailbox<Order>,
    pub(crate) inner: Inner,
}

#[derive(Debug)]
pub(crate) enum Inner {
    Local(UnboundedSender<Input>),
    Remote {
        /// None while it is dropped.
        frames: Option<UnboundedSender<Frame>>,
        /// Ends with the thread.
        ended: Mutex<Receiver<()>>,
        farewell: Duration,
    },
}

impl Link {
    /// Joins the coordinator at the first of these addresses at which it answers. [`Order::Welcome`] or
    /// [`Order::Refused`] comes later.
    pub fn connect(addresses: &[SocketAddr], secret: &Secret, hello: Hello) -> Result<Link> {
        Link::connect_with(addresses, secret, hello, Timing::default())
    }

    pub(crate) fn connect_with(
        addresses: &[SocketAddr],
        secret: &Secret,
        hello: Hello,
        timing: Timing,
    ) -> Result<Link> {
        let tls = tls::client(secret)?;
        let orders = Mailbox::new()?;
        let (frames, to_send) = unbounded_channel();
        let send_hello = frames.send(Arc::new(frame::encode(Report::Hello(hello))?));
        send_hello.map_err(|_| Error::Lost("it has just been made".to_string()))?;
        let (answer, connected) = channel();
        let (end, ended) = channel();
        let task = Task {
            orders: orders.clone(),
            // Dropping the link must end the writer.
            pong: frames.downgrade(),
            timing,
        };
        let addresses = addresses.to_vec();
        let run = move || {
            let _end: Sender<()> = end;
            let _closing = task.orders.closing("the link has ended");
            task.run(&addresses, tls, to_send, &answer);
        };
        std::thread::Builder::new()
            .name("rethaw-link".to_string())
            .spawn(run)
            .map_err(|e| Error::io("start the link's thread", e))?;
        let gone = |_| Error::Lost("the link's thread has ended".to_string());
        connected.recv().map_err(gone)??;
        let inner = Inner::Remote {
            frames: Some(frames),
            ended: Mutex::new(ended),
            farewell: timing.farewell,
        };
        Ok(Link { orders, inner })
    }

    /// Sends; does not wait until it has arrived.
    pub fn send(&self, report: Report) -> Result<()> {
        if let Some(why) = self.orders.closed() {
            return Err(Error::Lost(why));
        }
        let gone = || Error::Lost("the coordinator has ended".to_string());
        match &self.inner {
            Inner::Local(inputs) => {
                let input = Input::Event(Event::Received(LOCAL, report));
                inputs.send(input).map_err(|_| gone())
            }
            Inner::Remote { frames, .. } => {
                let frame = Arc::new(frame::encode(report)?);
                let frames = frames.as_ref().ok_or_else(gone)?;
                frames.send(frame).map_err(|_| gone())
            }
        }
    }

    /// The next order; none if none comes in time (None: waits for ever). [`Error::Lost`] once the coordinator is gone
    /// and all that it has said is read.
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Option<Order>> {
        self.orders.take(timeout)
    }
}

impl AsFd for Link {
    /// Readable while an order waits, and when the coordinator is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.orders.as_fd()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        match &mut self.inner {
            Inner::Local(inputs) => {
                if self.orders.closed().is_none() {
                    let reason = "the agent has ended".to_string();
                    let _ = inputs.send(Input::Event(Event::Lost(LOCAL, reason)));
                }
            }
            Inner::Remote {
                frames,
                ended,
                farewell,
            } => {
                drop(frames.take());
                // Twice: to send the rest, and until the other side has taken it.
                let ended = ended.get_mut().unwrap_or_else(PoisonError::into_inner);
                let _ = ended.recv_timeout(*farewell * 2);
            }
        }
    }
}

/// Everything of the link's thread.
struct Task {
    orders: Mailbox<Order>,
    pong: WeakUnboundedSender<Frame>,
    timing: Timing,
}

impl Task {
    fn run(
        self,
        addresses: &[SocketAddr],
        tls: Arc<ClientConfig>,
        frames: UnboundedReceiver<Frame>,
        answer: &Sender<Result<()>>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(e) => return drop(answer.send(Err(Error::io("set up the link", e)))),
        };
        runtime.block_on(async {
            match find(addresses, tls, self.timing).await {
                Ok(stream) => {
                    let _ = answer.send(Ok(()));
                    self.talk(stream, frames).await;
                }
                Err(e) => drop(answer.send(Err(e))),
            }
        });
    }

    async fn talk(self, stream: TlsStream<TcpStream>, frames: UnboundedReceiver<Frame>) {
        let timing = self.timing;
        let (from, to) = tokio::io::split(stream);
        let orders = self.orders.clone();
        let writer = tokio::spawn(connection::write_all(to, frames, None, timing));
        let stop_writer = writer.abort_handle();
        let mut reader = tokio::spawn(async move {
            let reason = self.read(from).await;
            self.orders.close(&reason);
            stop_writer.abort();
        });
        match writer.await {
            // What was sent last is lost if the connection is closed while something unread has arrived (RFC 1122,
            // 4.2.2.13): the other side closes first.
            Ok(Ok(())) => drop(tokio::time::timeout(timing.farewell, &mut reader).await),
            Ok(Err(e)) => orders.close(&e.to_string()),
            // The reader has said why.
            Err(_) => (),
        }
        reader.abort();
    }

    /// Until the connection ends: why it did.
    async fn read(&self, mut from: tokio::io::ReadHalf<TlsStream<TcpStream>>) -> String {
        let pong = frame::encode(Report::Pong(Pong {})).map(Arc::new);
        loop {
            match connection::next(&mut from, MAX_LEN, self.timing.silence).await {
                Ok(Order::Ping(_)) => {
                    if let (Some(frames), Ok(pong)) = (self.pong.upgrade(), &pong) {
                        let _ = frames.send(Arc::clone(pong));
                    }
                }
                Ok(order) => self.orders.put(order),
                Err(reason) => return reason,
            }
        }
    }
}

/// Tries all addresses, one a little after the other, and takes the first at which the coordinator answers.
async fn find(
    addresses: &[SocketAddr],
    tls: Arc<ClientConfig>,
    timing: Timing,
) -> Result<TlsStream<TcpStream>> {
    let mut tries = JoinSet::new();
    for (index, address) in addresses.iter().copied().enumerate() {
        let tls = TlsConnector::from(Arc::clone(&tls));
        tries.spawn(async move {
            tokio::time::sleep(Duration::from_millis(300) * index as u32).await;
            within(timing.handshake, reach(address, tls, timing)).await
        });
    }
    let mut cause = "no address is known".to_string();
    while let Some(one) = tries.join_next().await {
        match one {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => cause = e.to_string(),
            Err(e) => cause = e.to_string(),
        }
    }
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    Err(Error::Unreachable {
        addresses: addresses.join(", "),
        cause,
    })
}

async fn reach(address: SocketAddr, tls: TlsConnector, timing: Timing) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    connection::prepare(&stream, timing);
    // The name is sent to nobody: the certificate itself is compared.
    let name = ServerName::IpAddress(address.ip().into());
    tls.connect(name, stream).await
}
