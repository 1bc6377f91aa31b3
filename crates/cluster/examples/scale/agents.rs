//! The other processes: many agents without processes, in one loop of poll(2).

use crate::decisions::hello;
use rethaw_cluster::*;
use rustix::event::{PollFd, PollFlags, poll};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub fn run(arguments: &[String]) {
    let [address, secret, first, count] = arguments else {
        panic!("--agents ADDRESS SECRET FIRST COUNT")
    };
    let address: SocketAddr = address.parse().unwrap();
    let secret = Secret::load(Path::new(secret)).unwrap();
    let (first, count): (usize, usize) = (first.parse().unwrap(), count.parse().unwrap());
    let join = |index| Link::connect(&[address], &secret, hello(first + index)).unwrap();
    let mut links: Vec<Link> = (0..count).map(join).collect();
    while !links.is_empty() {
        let mut fds: Vec<PollFd<'_>> = links
            .iter()
            .map(|link| PollFd::new(link, PollFlags::IN))
            .collect();
        poll(&mut fds, None).unwrap();
        let ready: Vec<usize> = (0..fds.len())
            .filter(|index| !fds[*index].revents().is_empty())
            .collect();
        drop(fds);
        let ended: Vec<usize> = ready
            .into_iter()
            .filter(|index| !answer(&links[*index]))
            .collect();
        // They leave all at once: each waits for the coordinator to close.
        let mut leaving = Vec::new();
        for index in ended.into_iter().rev() {
            leaving.push(links.swap_remove(index));
        }
        std::thread::scope(|scope| {
            leaving
                .into_iter()
                .for_each(|link| drop(scope.spawn(|| drop(link))))
        });
    }
}

/// Whether it goes on.
fn answer(link: &Link) -> bool {
    while let Some(order) = link.recv(Some(Duration::ZERO)).expect("the coordinator lives") {
        let report = match order {
            Order::Freeze(one) => Report::Frozen(Frozen {
                attempt: one.attempt,
                ends: Vec::new(),
            }),
            Order::Drain(one) => Report::Drained(Drained { attempt: one.attempt }),
            Order::Collect(one) => Report::Collected(Collected { attempt: one.attempt }),
            Order::Resume(one) => Report::Written(Written {
                attempt: one.attempt,
                ..Written::default()
            }),
            Order::Commit(one) => Report::Committed(Committed { attempt: one.attempt }),
            Order::Kill(_) => {
                link.send(Report::Ended(Ended { status: None })).unwrap();
                return false;
            }
            _ => continue,
        };
        link.send(report).unwrap();
    }
    true
}
