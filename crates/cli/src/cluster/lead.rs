//! The leading node's side: the coordinator, which runs here, and what it takes to get agents onto other nodes.

use super::meet::{self, Terms};
use super::part::Part;
use super::place::{self, start_agent};
use crate::failure::{Context, Result};
use crate::message;
use rethaw_cluster::{Command, Config, Hub, Link, News, Program, RestartPlan, Secret};
use rethaw_engine::checkpoint::Options;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// A computation that is led from here.
pub struct Lead {
    hub: Hub,
    /// This node's own agent is one of them.
    pub link: Link,
    /// What the agents were told.
    pub terms: Terms,
    folder: PathBuf,
    /// This node's part in the checkpoint that is being taken.
    pub part: Option<Part>,
    /// Clients that wait until something is started, by ticket.
    waiting: BTreeMap<u64, UnixStream>,
    last_ticket: u64,
    /// What started agents on other nodes.
    starters: Vec<Child>,
    /// Other agents that have joined, by number: where they are.
    nodes: BTreeMap<u32, String>,
}

impl Lead {
    /// Begins to lead: other nodes can join.
    pub fn begin(
        folder: &Path,
        options: &Options,
        restart: &rethaw_engine::restart::Options,
        next_generation: u64,
        takes_over: bool,
    ) -> Result<Lead> {
        let name = || "listen for other nodes".to_string();
        let listener = TcpListener::bind("[::]:0")
            .or_else(|_| TcpListener::bind("0.0.0.0:0"))
            .context(name)?;
        let port = listener.local_addr().context(name)?.port();
        let addresses = place::own_addresses();
        let reachable = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let secret = Secret::generate()?;
        let terms = Terms::new(reachable, options, restart, takes_over)?;
        let config = Config::new(&options.identity.computation, next_generation);
        let mut hub = Hub::start(&secret, config)?;
        hub.listen(listener)?;
        let link = hub.local_link(meet::hello(Some(0)))?;
        terms.publish(folder, &secret)?;
        Ok(Lead {
            hub,
            link,
            terms,
            folder: folder.to_path_buf(),
            part: None,
            waiting: BTreeMap::new(),
            last_ticket: 0,
            starters: Vec::new(),
            nodes: BTreeMap::new(),
        })
    }

    /// Readable while there are news.
    pub fn news_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.hub.as_fd()
    }

    /// The next of them.
    pub fn news(&self, timeout: Option<Duration>) -> Result<Option<News>> {
        Ok(self.hub.news(timeout)?)
    }

    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Whether other agents are there.
    pub fn has_others(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Wants a checkpoint of all nodes, with this number or a higher one. The verdict comes as news.
    pub fn request(&mut self, generation: u64, stop: bool) {
        let ticket = self.ticket();
        self.hub.command(Command::NextGeneration(generation));
        self.hub.command(Command::Request {
            ticket,
            stop,
            why: String::new(),
        });
    }

    /// Starts a program on another node; `client` is answered when it was.
    pub fn start_on(&mut self, node: String, program: Program, client: UnixStream) {
        let ticket = self.ticket();
        self.waiting.insert(ticket, client);
        self.hub.command(Command::StartOn {
            ticket,
            node,
            program,
        });
    }

    /// Brings a checkpoint back together with the agents that come.
    pub fn restart(&self, plan: RestartPlan) {
        self.hub.command(Command::Restart(plan));
    }

    /// Who waits for this ticket.
    pub fn client(&mut self, ticket: u64) -> Option<UnixStream> {
        self.waiting.remove(&ticket)
    }

    /// Gets an agent onto a node. What that takes is a child of this process: its number.
    pub fn fetch_agent(&mut self, node: &str, number: Option<u32>) -> Option<i32> {
        match start_agent(node, &self.folder, number) {
            Ok(child) => {
                let pid = child.id().cast_signed();
                self.starters.push(child);
                Some(pid)
            }
            Err(failure) => {
                self.hub.command(Command::Unreachable {
                    node: node.to_owned(),
                    sentence: failure.to_string(),
                });
                None
            }
        }
    }

    /// Collects those that have ended.
    pub fn reap(&mut self) {
        self.starters
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Keeps in mind who is there.
    pub fn note(&mut self, news: &News) {
        match news {
            News::Joined(node) if node.agent != 0 => {
                self.nodes.insert(node.agent, node.node.clone());
            }
            News::Ended { agent, .. } | News::NodeLost { agent, .. } => {
                self.nodes.remove(agent);
            }
            _ => {}
        }
    }

    /// Ends what runs on other nodes, and leads no more.
    pub fn end(mut self) {
        const PATIENCE: Duration = Duration::from_secs(15);
        Terms::withdraw(&self.folder);
        if self.has_others() {
            self.hub.command(Command::Kill);
            let _ = self
                .link
                .send(rethaw_cluster::Report::Ended(rethaw_cluster::Ended {
                    status: None,
                }));
            while let Ok(Some(news)) = self.news(Some(PATIENCE)) {
                if let News::Over { silent } = news {
                    for node in silent {
                        message::warn(format!(
                            "nothing was heard of {node}: programs may still run there"
                        ));
                    }
                    break;
                }
            }
        }
        for child in &mut self.starters {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
