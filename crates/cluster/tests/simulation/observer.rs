//! Watches everything that goes into a coordinator and comes out, and knows what it has promised.

use rethaw_cluster::{Action, Command, Event, Key, News, Order, Outcome, Report, Verdict};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Observer {
    /// Joined, and neither lost nor left nor closed.
    here: BTreeSet<Key>,
    /// Agents that are to stand still, and for which attempt.
    frozen: BTreeMap<Key, u64>,
    /// The attempt under way and who was told to freeze.
    open: Option<(u64, bool, BTreeSet<Key>)>,
    last_attempt: u64,
    /// Who has answered what.
    written: BTreeSet<(u64, Key)>,
    committed: BTreeSet<(u64, Key)>,
    prepared: BTreeSet<Key>,
    preparing: Option<BTreeSet<Key>>,
    commit_sent: BTreeMap<u64, Key>,
    /// Who has been told the end of an attempt.
    told: BTreeSet<(u64, Key)>,
    asked: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    starts_asked: BTreeSet<u64>,
    restarts: usize,
    /// In this step.
    restart_asked: bool,
    pub restarts_answered: usize,
    pub verdicts: Vec<Verdict>,
    /// Of the user's starts: why not.
    pub starts: BTreeMap<u64, Option<String>>,
    exited: BTreeSet<u64>,
    /// Who must be told, within this step, that everything ends.
    to_be_told: BTreeSet<Key>,
    pub is_over: bool,
    /// What else was told.
    pub names: Vec<&'static str>,
}

impl Observer {
    pub fn new() -> Observer {
        Observer::default()
    }

    pub fn sees(&mut self, event: &Event) {
        assert!(
            self.to_be_told.is_empty(),
            "{:?} were not told the end",
            self.to_be_told
        );
        match event {
            Event::Joined(key, _) => drop(self.here.insert(*key)),
            Event::Lost(key, _) => self.gone(*key),
            Event::Received(key, report) if self.here.contains(key) => self.hears(*key, report),
            Event::Command(Command::Request { ticket, .. }) => drop(self.asked.insert(*ticket)),
            Event::Command(Command::StartOn { ticket, .. }) => drop(self.starts_asked.insert(*ticket)),
            Event::Command(Command::Restart(_)) => {
                self.restarts += 1;
                self.restart_asked = true;
            }
            Event::Received(..) | Event::Command(_) | Event::Tick => (),
        }
    }

    fn hears(&mut self, key: Key, report: &Report) {
        match report {
            Report::Written(one) => drop(self.written.insert((one.attempt, key))),
            Report::Committed(one) => drop(self.committed.insert((one.attempt, key))),
            Report::Prepared(_) => drop(self.prepared.insert(key)),
            Report::Ended(_) => self.gone(key),
            _ => (),
        }
    }

    fn gone(&mut self, key: Key) {
        self.to_be_told.remove(&key);
        self.here.remove(&key);
        self.frozen.remove(&key);
    }

    pub fn acts(&mut self, action: &Action) {
        match action {
            Action::Send(to, order) => to.iter().for_each(|key| self.orders(*key, order)),
            Action::Close(key) => self.gone(*key),
            Action::Tell(news) => self.tells(news),
        }
    }

    fn orders(&mut self, key: Key, order: &Order) {
        assert!(self.here.contains(&key), "{key:?} is gone and gets {order:?}");
        match order {
            Order::Freeze(one) => {
                assert!(one.attempt > self.last_attempt || self.is_open(one.attempt));
                self.last_attempt = one.attempt;
                let (attempt, _, parts) = self.open.get_or_insert((one.attempt, one.stop, BTreeSet::new()));
                assert_eq!(*attempt, one.attempt, "two attempts at a time");
                parts.insert(key);
                assert_eq!(self.frozen.insert(key, one.attempt), None, "frozen twice");
            }
            Order::Drain(one) => assert!(self.is_open(one.attempt)),
            Order::Collect(one) => assert!(self.is_open(one.attempt)),
            Order::Resume(one) => {
                assert!(self.is_open(one.attempt));
                let (_, stop, _) = self.open.as_ref().unwrap();
                if !stop {
                    self.frozen.remove(&key);
                }
            }
            Order::Commit(one) => {
                assert!(self.is_open(one.attempt));
                let (_, _, parts) = self.open.as_ref().unwrap();
                let all = parts
                    .iter()
                    .all(|part| self.written.contains(&(one.attempt, *part)));
                assert!(all, "committed before all is written");
                assert_eq!(one.images.len(), parts.len());
                assert_eq!(self.commit_sent.insert(one.attempt, key), None);
            }
            Order::Done(one) => {
                self.frozen.remove(&key);
                self.told.insert((one.attempt, key));
            }
            Order::Abort(one) => {
                self.frozen.remove(&key);
                self.told.insert((one.attempt, key));
                if one.attempt == 0 {
                    if let Some(preparing) = &mut self.preparing {
                        preparing.remove(&key);
                    }
                } else if self.is_open(one.attempt) && self.all_told(one.attempt) {
                    // A new attempt may follow without a verdict.
                    self.open = None;
                }
            }
            Order::Start(_) | Order::Welcome(_) => {
                assert!(
                    self.frozen.is_empty(),
                    "something begins while others stand still"
                );
            }
            Order::Kill(_) => drop(self.to_be_told.remove(&key)),
            Order::Prepare(_) => drop(self.preparing.get_or_insert_default().insert(key)),
            Order::Go(_) => {
                let preparing = self.preparing.as_ref().unwrap();
                assert!(
                    preparing.iter().all(|part| self.prepared.contains(part)),
                    "gone before all is rebuilt"
                );
            }
            _ => (),
        }
    }

    /// Whether an attempt has ended without a verdict.
    fn retries(&self) -> bool {
        let last = self.verdicts.iter().rev().find(|verdict| verdict.attempt != 0);
        last.map_or(0, |verdict| verdict.attempt) < self.last_attempt
    }

    fn is_open(&self, attempt: u64) -> bool {
        matches!(&self.open, Some((open, ..)) if *open == attempt)
    }

    /// Whether all who were told to freeze, and are here, know that it is over.
    fn all_told(&self, attempt: u64) -> bool {
        let Some((_, _, parts)) = &self.open else {
            return true;
        };
        let mut here = parts.iter().filter(|key| self.here.contains(key));
        here.all(|key| self.told.contains(&(attempt, *key)))
    }

    fn tells(&mut self, news: &News) {
        self.names.extend(match news {
            News::Late { .. } => Some("late"),
            News::NodeLost { .. } => Some("lost"),
            News::Ended { .. } => Some("ended"),
            News::Over { .. } => Some("over"),
            News::Restarted { .. } => Some("restarted"),
            News::RestartFailed(_) => Some("restart failed"),
            News::Started { error: None, .. } => Some("started"),
            News::Started { .. } => Some("not started"),
            News::Exited { .. } => Some("exited"),
            News::Began { .. } if self.open.is_none() && self.retries() => Some("retried"),
            _ => None,
        });
        match news {
            News::Verdict(verdict) => self.hears_verdict(verdict),
            // The last attempt can have ended with its last agent.
            News::Began { attempt, .. } if !self.is_open(*attempt) => {
                self.open = None;
                assert!(
                    self.frozen.is_empty(),
                    "{:?} stand still when {attempt} begins",
                    self.frozen
                );
            }
            News::Restarted { .. } => {
                self.preparing = None;
                self.restarts_answered += 1;
            }
            // Refused while another one is under way.
            News::RestartFailed(_) if self.restart_asked => self.restarts_answered += 1,
            News::RestartFailed(_) => {
                let preparing = self.preparing.take().unwrap_or_default();
                assert!(preparing.is_disjoint(&self.here), "somebody waits for the others");
                self.restarts_answered += 1;
            }
            News::NodeLost { killed: true, .. } => self.to_be_told.clone_from(&self.here),
            News::Started { ticket, error } => {
                assert!(self.starts_asked.contains(ticket));
                assert!(
                    self.starts.insert(*ticket, error.clone()).is_none(),
                    "answered twice"
                );
            }
            News::Exited { ticket, .. } => {
                assert_eq!(self.starts.get(ticket), Some(&None), "it was never started");
                assert!(self.exited.insert(*ticket), "ended twice");
            }
            News::Over { .. } => {
                assert!(!self.is_over, "over twice");
                self.is_over = true;
            }
            _ => (),
        }
    }

    fn hears_verdict(&mut self, verdict: &Verdict) {
        for ticket in &verdict.tickets {
            assert!(self.asked.contains(ticket));
            assert!(self.answered.insert(*ticket), "answered twice");
        }
        if self.is_open(verdict.attempt) {
            assert!(
                self.all_told(verdict.attempt),
                "{verdict:?} is not known everywhere"
            );
            self.open = None;
        }
        let committer = self.commit_sent.get(&verdict.attempt);
        let is_committed = committer.is_some_and(|key| self.committed.contains(&(verdict.attempt, *key)));
        assert_eq!(verdict.outcome == Outcome::Committed, is_committed, "{verdict:?}");
        if let Outcome::Unknown(_) = verdict.outcome {
            assert!(committer.is_some());
        }
        self.verdicts.push(verdict.clone());
    }

    /// All agents are gone, and what they ran.
    pub fn check_all_has_exited(&self) {
        let started = self.starts.iter().filter(|(_, error)| error.is_none());
        let started: BTreeSet<u64> = started.map(|(ticket, _)| *ticket).collect();
        assert_eq!(started, self.exited);
    }

    /// Nothing hangs, nobody stands still.
    pub fn check_all_is_answered(&self) {
        assert_eq!(self.asked, self.answered, "each request has one answer");
        let starts: BTreeSet<u64> = self.starts.keys().copied().collect();
        assert_eq!(self.starts_asked, starts, "each start has one answer");
        assert_eq!(
            self.restarts, self.restarts_answered,
            "each restart has one answer"
        );
        assert!(self.frozen.is_empty(), "{:?} stand still", self.frozen);
    }
}
