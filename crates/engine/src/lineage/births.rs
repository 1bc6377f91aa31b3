//! Into which session everybody is born, and how.
//!
//! A *root* of a session is a member whose parent is not in it. There are three ways to have become one:
//! - its parent was in that session too, and led one of its own later (the child is an *early* one);
//! - it was made *beside* the session's leader, as its sibling;
//! - somebody *below* the leader made it, and ended, so that its parent adopted it.
//!
//! The first asks that the parent was itself born into that session, which may make it a root there. The others ask
//! that the leader descends from the parent, at the time: of its ancestors some end later, and it moves up. So leaders
//! that have ended are placed, and the births of living leaders chosen, until all roots are provided for.

use super::{Node, Role, Unbuildable};
use std::collections::{BTreeMap, BTreeSet};

/// How the roots of a session under one parent come to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Their parent makes them, in the session that it is in (at the end, or at first).
    ByParent,
    /// The session's leader makes them, as its siblings.
    Beside,
    /// A go-between makes them, which the session's leader makes, and ends.
    Below,
}

/// Roots of `session` whose parent is `parent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Roots {
    session: i32,
    parent: i32,
}

/// What can be tried.
#[derive(Debug, Clone, Copy)]
enum Choice {
    /// The stand-in for a session's leader becomes a child of this process.
    Place(Roots),
    /// The parent of these roots, who leads a session of its own, is born into theirs.
    Bear(Roots),
}

#[derive(Debug, Clone)]
pub(super) struct Births<'a> {
    nodes: &'a BTreeMap<i32, Node>,
    /// Parents of stand-ins for sessions' leaders.
    placed: BTreeMap<i32, i32>,
    /// Sessions into which leaders of other ones are born, where that matters.
    born_in: BTreeMap<i32, i32>,
    ways: BTreeMap<Roots, Way>,
    /// Roots for which no way was found yet.
    waiting: BTreeSet<Roots>,
}

impl<'a> Births<'a> {
    /// Searches for a way for everybody; not for ever.
    pub fn search(nodes: &'a BTreeMap<i32, Node>) -> Result<Births<'a>, Unbuildable> {
        const MOST_TRIES: usize = 1000;
        let mut births = Births {
            nodes,
            placed: BTreeMap::new(),
            born_in: BTreeMap::new(),
            ways: BTreeMap::new(),
            waiting: BTreeSet::new(),
        };
        for (pid, node) in nodes.iter().filter(|(_, node)| node.role != Role::StandIn) {
            if node.sid != *pid {
                births.need(node.sid, node.ppid);
            }
        }
        let mut tries = MOST_TRIES;
        births.settle(&mut tries).map_err(|roots| Unbuildable {
            pid: births.members(roots).next().unwrap_or(roots.parent),
            what: format!(
                "a session ({}) that neither its parent ({}) nor anybody who has ended was in",
                roots.session, roots.parent
            ),
        })
    }

    /// Where the stand-in for a session's leader is made.
    pub fn parent_of_stand_in(&self, session: i32) -> i32 {
        self.placed.get(&session).copied().unwrap_or(0)
    }

    /// The session into which a leader of another one is born, where that matters.
    pub fn session_at_birth(&self, leader: i32) -> Option<i32> {
        self.born_in.get(&leader).copied()
    }

    /// How a process comes to be the child of its parent, and by whose session.
    pub fn way(&self, pid: i32, node: &Node) -> (Way, i32) {
        let session = self.birth(pid, node);
        let roots = Roots {
            session,
            parent: node.ppid,
        };
        (self.ways.get(&roots).copied().unwrap_or(Way::ByParent), session)
    }

    fn session_of(&self, pid: i32) -> i32 {
        self.nodes.get(&pid).map_or(0, |node| node.sid)
    }

    /// The session into which a process is born.
    fn birth(&self, pid: i32, node: &Node) -> i32 {
        match self.born_in.get(&pid) {
            Some(session) => *session,
            None if node.sid == pid => self.session_of(node.ppid),
            None => node.sid,
        }
    }

    fn need(&mut self, session: i32, parent: i32) {
        let roots = Roots { session, parent };
        if session != self.session_of(parent) && !self.ways.contains_key(&roots) {
            self.waiting.insert(roots);
        }
    }

    fn members(&self, roots: Roots) -> impl Iterator<Item = i32> {
        self.nodes
            .iter()
            .filter(move |(pid, node)| {
                node.role != Role::StandIn
                    && node.ppid == roots.parent
                    && self.birth(**pid, node) == roots.session
            })
            .map(|(pid, _)| *pid)
    }

    /// Takes what is certain; then tries one thing after the other. On failure, gives those that are left.
    fn settle(&self, tries: &mut usize) -> Result<Births<'a>, Roots> {
        let mut births = self.clone();
        while births.decide()? {}
        let Some(left) = births.waiting.first().copied() else {
            return Ok(births);
        };
        for choice in births.choices() {
            if *tries == 0 {
                break;
            }
            *tries -= 1;
            let mut next = births.clone();
            if next.choose(choice)
                && let Ok(settled) = next.settle(tries)
            {
                return Ok(settled);
            }
        }
        Err(left)
    }

    /// Whether something became certain. Fails with roots for which there is no way any more.
    fn decide(&mut self) -> Result<bool, Roots> {
        let waiting = std::mem::take(&mut self.waiting);
        let before = waiting.len();
        for roots in waiting {
            match self.certain(roots) {
                Some(way) => drop(self.ways.insert(roots, way)),
                None => drop(self.waiting.insert(roots)),
            }
        }
        if self.waiting.len() < before {
            return Ok(true);
        }
        if let Some(roots) = self.waiting.iter().copied().find(|roots| self.came_first(*roots)) {
            return self.choose(Choice::Bear(roots)).then_some(true).ok_or(roots);
        }
        // Where there is no choice, a stand-in is placed.
        let mut of: BTreeMap<i32, Vec<Roots>> = BTreeMap::new();
        for roots in self.waiting.iter().filter(|roots| self.unplaced(roots.session)) {
            of.entry(roots.session).or_default().push(*roots);
        }
        let only = of.into_values().find(|all| all.len() == 1);
        Ok(only
            .and_then(|all| all.first().copied())
            .is_some_and(|roots| self.choose(Choice::Place(roots))))
    }

    /// Whether somebody above the parent was in the session: then its leader was made before the parent, and cannot
    /// descend from it.
    fn came_first(&self, roots: Roots) -> bool {
        let member = |pid: i32| {
            let node = self.nodes.get(&pid);
            pid == roots.session || node.is_some_and(|node| self.birth(pid, node) == roots.session)
        };
        self.ancestors(roots.parent).into_iter().any(member)
    }

    fn certain(&self, roots: Roots) -> Option<Way> {
        let Roots { session, parent } = roots;
        if self.born_in.get(&parent) == Some(&session) {
            return Some(Way::ByParent);
        }
        let leader = self.nodes.get(&session).filter(|_| !self.unplaced(session))?;
        let above = self.ancestors(session);
        let descends = parent == 0 || above.contains(&parent);
        if !descends
            || self
                .members(roots)
                .any(|pid| pid == session || above.contains(&pid))
        {
            return None;
        }
        let beside = match leader.role {
            Role::StandIn => self.placed.get(&session) == Some(&parent),
            _ => leader.ppid == parent,
        };
        Some(if beside { Way::Beside } else { Way::Below })
    }

    fn unplaced(&self, session: i32) -> bool {
        let stand_in = |node: &Node| node.role == Role::StandIn;
        self.nodes.get(&session).is_some_and(stand_in) && !self.placed.contains_key(&session)
    }

    /// Everybody above a process when it is made, but the init: those who made it, and who made them.
    fn ancestors(&self, of: i32) -> BTreeSet<i32> {
        let mut above = BTreeSet::new();
        let mut at = of;
        loop {
            let Some(node) = self.nodes.get(&at) else {
                return above;
            };
            at = match (node.role, self.way(at, node)) {
                (Role::StandIn, _) => self.placed.get(&at).copied().unwrap_or(node.ppid),
                (_, (Way::ByParent, _)) => node.ppid,
                (_, (Way::Beside | Way::Below, session)) => session,
            };
            if at == 0 || !above.insert(at) {
                return above;
            }
        }
    }

    /// Whether it is possible.
    fn choose(&mut self, choice: Choice) -> bool {
        match choice {
            Choice::Place(Roots { session, parent }) => {
                self.placed.insert(session, parent);
            }
            Choice::Bear(Roots { session, parent }) => {
                let leads = parent != 0 && self.session_of(parent) == parent;
                if !leads || self.born_in.contains_key(&parent) {
                    return false;
                }
                let above = self.nodes.get(&parent).map_or(0, |node| node.ppid);
                let with = Roots {
                    session,
                    parent: above,
                };
                let too_early = || session == parent || self.ancestors(session).contains(&parent);
                if self.ways.get(&with).is_some_and(|way| *way != Way::ByParent) && too_early() {
                    return false;
                }
                self.born_in.insert(parent, session);
                self.need(session, above);
            }
        }
        true
    }

    /// Stand-ins under those that are furthest down, first: most others are above them.
    fn choices(&self) -> Vec<Choice> {
        let (to_place, others): (Vec<Roots>, Vec<Roots>) = self
            .waiting
            .iter()
            .partition(|roots| self.unplaced(roots.session));
        let mut to_place: Vec<(usize, Roots)> = to_place
            .into_iter()
            .map(|roots| (self.ancestors(roots.parent).len(), roots))
            .collect();
        to_place.sort_by_key(|(depth, roots)| (usize::MAX - depth, *roots));
        let place = to_place.into_iter().map(|(_, roots)| Choice::Place(roots));
        others.into_iter().map(Choice::Bear).chain(place).collect()
    }
}
