//! Waiting until the kernel has forgotten connections that are closed (TIME_WAIT), which may be in the way of an address.

use crate::restart::Notice;
use rethaw_sys::inet_diag::{state, tcp_connections};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long the kernel remembers a connection that was closed (TCP_TIMEWAIT_LEN), and a little more.
const REMEMBERED: Duration = Duration::from_secs(62);
/// After this time the user is told.
const SHORT: Duration = Duration::from_millis(1500);

/// What is not seen to be in the way is given so long.
const MOMENT: Duration = Duration::from_millis(200);

/// For all sockets of a restart.
#[derive(Debug)]
pub(super) struct Patience {
    notice: Option<Notice>,
    told: Cell<bool>,
}

/// For one of them.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    patience: &'a Patience,
    since: Instant,
    limit: Duration,
}

impl Patience {
    pub fn new(notice: Option<Notice>) -> Patience {
        Patience {
            notice,
            told: Cell::new(false),
        }
    }

    /// As long as the kernel remembers.
    pub fn wait(&self) -> Wait<'_> {
        self.wait_at_most(REMEMBERED)
    }

    /// Not for so long.
    pub fn wait_at_most(&self, limit: Duration) -> Wait<'_> {
        Wait {
            patience: self,
            since: Instant::now(),
            limit,
        }
    }
}

impl Wait<'_> {
    /// Waits a moment; false when it has been long enough, or something else is in the way at all of these addresses.
    pub fn goes_on(&self, addresses: &[SocketAddr]) -> bool {
        let waited = self.since.elapsed();
        let Some(address) = addresses.iter().find(|address| is_remembered(**address)) else {
            // What was in the way may have been forgotten between the attempt and this look at it.
            std::thread::sleep(MOMENT.min(self.limit));
            return waited < MOMENT.min(self.limit);
        };
        if waited >= self.limit {
            return false;
        }
        if let (true, Some(notice)) = (waited > SHORT, self.patience.notice)
            && !self.patience.told.replace(true)
        {
            notice(&format!(
                "waiting until the kernel has forgotten old connections at {address} (TIME_WAIT), a minute at most"
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
        true
    }
}

/// Whether a port is only in the way because of connections that are closed already (and were not made with
/// SO_REUSEADDR).
fn is_remembered(address: SocketAddr) -> bool {
    let found = tcp_connections(address.port(), u32::MAX).unwrap_or_default();
    !found.is_empty()
        && found
            .iter()
            .all(|one| one.inode == 0 && one.state != state::LISTEN)
}
