//! The coordinator's thread: all its input and output.

mod serve;

#[cfg(test)]
mod intruder_tests;
#[cfg(test)]
mod tests;

use crate::connection::{Frame, Timing};
use crate::coordinator::{
    Action, Command, Config, Coordinator, Event, Key, LOCAL, News, Node, Program, RestartPlan,
};
use crate::link::{Inner, Link};
use crate::mailbox::Mailbox;
use crate::message::{Hello, Order};
use crate::{Error, Result, Secret, frame, tls};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout, timeout_at};

/// The coordinator of a computation, in a thread of its own. Dropped, it says what is still to be said and ends; agents
/// see that it is gone, and their programs run on.
///
/// The thread inherits the signal mask: block first what is to be read from a signalfd.
#[derive(Debug)]
pub struct Hub {
    inputs: UnboundedSender<Input>,
    news: Mailbox<News>,
    address: Option<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

/// What comes to the coordinator's thread.
#[derive(Debug)]
pub(crate) enum Input {
    /// A new connection, and where its orders go.
    Joined(Key, Outbox, Hello),
    /// Anything else that happens.
    Event(Event),
    /// Agents may come here too.
    Listen(TcpListener),
    /// Who is there?
    Nodes(std::sync::mpsc::Sender<Vec<Node>>),
    /// The end.
    Stop,
}

/// Where an agent's orders go.
#[derive(Debug, Clone)]
pub(crate) enum Outbox {
    Local(Mailbox<Order>),
    Remote(UnboundedSender<Frame>),
}

impl Hub {
    /// Starts a coordinator that nobody can join from outside yet; see [`Hub::listen`].
    pub fn start(secret: &Secret, config: Config) -> Result<Hub> {
        Hub::start_with(secret, config, Timing::default())
    }

    pub(crate) fn start_with(secret: &Secret, config: Config, timing: Timing) -> Result<Hub> {
        let tls = tls::server(secret)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Error::io("set up the coordinator", e))?;
        let news = Mailbox::new()?;
        let (inputs, received) = unbounded_channel();
        let server = serve::Server::new(tls, inputs.clone(), timing);
        let task = Task {
            coordinator: Coordinator::new(config),
            began: Instant::now(),
            outboxes: HashMap::new(),
            news: news.clone(),
            server,
        };
        let run = move || {
            let _closing = task.news.closing("the coordinator has ended");
            run(&runtime, task, received);
        };
        let thread = std::thread::Builder::new()
            .name("rethaw-hub".to_string())
            .spawn(run)
            .map_err(|e| Error::io("start the coordinator's thread", e))?;
        Ok(Hub {
            inputs,
            news,
            address: None,
            thread: Some(thread),
        })
    }

    /// Lets agents join at this socket as well. Returns its address.
    pub fn listen(&mut self, listener: TcpListener) -> Result<SocketAddr> {
        let failed = |e| Error::io("listen for agents", e);
        listener.set_nonblocking(true).map_err(failed)?;
        // The standard library's queue is short for agents that all come at once.
        rustix::net::listen(&listener, 4096).map_err(|e| failed(e.into()))?;
        let address = listener.local_addr().map_err(failed)?;
        self.put(Input::Listen(listener));
        self.address = Some(address);
        Ok(address)
    }

    /// Where agents can join.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The link of the agent in this process. There is one at a time.
    pub fn local_link(&self, hello: Hello) -> Result<Link> {
        let orders = Mailbox::new()?;
        self.put(Input::Joined(LOCAL, Outbox::Local(orders.clone()), hello));
        let inner = Inner::Local(self.inputs.clone());
        Ok(Link { orders, inner })
    }

    /// See [`Command::Request`].
    pub fn request(&self, ticket: u64, stop: bool, why: &str) {
        let why = why.to_string();
        self.command(Command::Request { ticket, stop, why });
    }

    /// See [`Command::StartOn`].
    pub fn start_on(&self, ticket: u64, node: &str, program: Program) {
        let node = node.to_string();
        self.command(Command::StartOn {
            ticket,
            node,
            program,
        });
    }

    /// See [`Command::Unreachable`].
    pub fn unreachable(&self, node: &str, sentence: &str) {
        let (node, sentence) = (node.to_string(), sentence.to_string());
        self.command(Command::Unreachable { node, sentence });
    }

    /// See [`Command::Restart`].
    pub fn restart(&self, plan: RestartPlan) {
        self.command(Command::Restart(plan));
    }

    /// See [`Command::Kill`].
    pub fn kill(&self) {
        self.command(Command::Kill);
    }

    /// Any command.
    pub fn command(&self, command: Command) {
        self.put(Input::Event(Event::Command(command)));
    }

    /// The agents that are there now, by number.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let (answer, nodes) = std::sync::mpsc::channel();
        self.put(Input::Nodes(answer));
        let gone = |_| Error::Lost("the coordinator has ended".to_string());
        nodes.recv().map_err(gone)
    }

    /// The next news; none if there are none in time (None: waits for ever). See [`Mailbox::take`].
    pub fn news(&self, timeout: Option<Duration>) -> Result<Option<News>> {
        self.news.take(timeout)
    }

    /// The thread ends only when this is dropped, or by a bug, which the news tell.
    fn put(&self, input: Input) {
        let _ = self.inputs.send(input);
    }
}

impl AsFd for Hub {
    /// Readable while news wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.put(Input::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Everything of the coordinator's thread.
struct Task {
    coordinator: Coordinator,
    began: Instant,
    outboxes: HashMap<Key, Outbox>,
    news: Mailbox<News>,
    server: serve::Server,
}

fn run(runtime: &Runtime, mut task: Task, mut inputs: UnboundedReceiver<Input>) {
    runtime.block_on(async {
        while let Some(input) = task.next(&mut inputs).await {
            if !task.take(input) {
                break;
            }
        }
        task.outboxes.drain().for_each(|(_, outbox)| outbox.close());
        task.server.finish().await;
    });
}

impl Task {
    async fn next(&self, inputs: &mut UnboundedReceiver<Input>) -> Option<Input> {
        match self.coordinator.deadline() {
            None => inputs.recv().await,
            Some(deadline) => match timeout_at(self.began + deadline, inputs.recv()).await {
                Ok(input) => input,
                Err(_) => Some(Input::Event(Event::Tick)),
            },
        }
    }

    /// False for the end.
    fn take(&mut self, input: Input) -> bool {
        let event = match input {
            Input::Joined(key, outbox, hello) => {
                if let Some(former) = self.outboxes.insert(key, outbox) {
                    former.close();
                }
                Event::Joined(key, hello)
            }
            Input::Event(event) => event,
            Input::Listen(listener) => {
                self.server.listen(listener);
                return true;
            }
            Input::Nodes(answer) => {
                let _ = answer.send(self.coordinator.nodes());
                return true;
            }
            Input::Stop => return false,
        };
        if let Event::Lost(key, _) = &event {
            self.close(*key);
        }
        for action in self.coordinator.handle(self.began.elapsed(), event) {
            self.act(action);
        }
        true
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(to, order) => self.send(&to, order),
            Action::Close(key) => self.close(key),
            Action::Tell(news) => self.news.put(news),
        }
    }

    fn send(&self, to: &[Key], order: Order) {
        let outboxes = to.iter().filter_map(|key| self.outboxes.get(key));
        let mut frame = None;
        for outbox in outboxes {
            match outbox {
                Outbox::Local(orders) => orders.put(order.clone()),
                Outbox::Remote(frames) => {
                    let frame = frame.get_or_insert_with(|| frame::encode(order.clone()).map(Arc::new));
                    match frame {
                        // Whoever does not take it is gone, and its reader will say so.
                        Ok(frame) => drop(frames.send(Arc::clone(frame))),
                        Err(e) => return self.oversize(to, &e.to_string()),
                    }
                }
            }
        }
    }

    /// Without this order the agents would wait for ever.
    fn oversize(&self, to: &[Key], what: &str) {
        for key in to {
            self.server.put(Event::Lost(*key, what.to_string()));
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(outbox) = self.outboxes.remove(&key) {
            outbox.close();
        }
    }
}

impl Outbox {
    /// A remote one ends when the last sender is dropped and all is sent.
    fn close(self) {
        if let Outbox::Local(orders) = self {
            orders.close("the coordinator has closed the link");
        }
    }
}

/// Waits for the end of all that hold a sender of this channel, for a limited time.
async fn wait_for_all(mut alive: UnboundedReceiver<()>, limit: Duration) {
    let _ = timeout(limit, async { while alive.recv().await.is_some() {} }).await;
}
