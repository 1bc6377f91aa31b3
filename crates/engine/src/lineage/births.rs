//! Into which session everybody is born, and how.
//!
//! A *root* of a session is a member whose parent is not in it. There are three ways to have become one:
//! - its parent was in that session too, and led one of its own later (the child is an *early* one);
//! - it was made *beside* the session's leader, as its sibling;
//! - somebody *below* the leader made it, and ended, so that its parent adopted it.
//!
//! The first asks that the parent was itself born into that session, which may make it a root there. The others ask
//! that the leader descends from the parent, at the time: of its ancestors some end later, and it moves up. So leaders
//! that have ended are placed, the births of living leaders chosen, and whole branches made further down than they are
//! in the end, until all roots are provided for.

use super::{Node, Role, Unbuildable};
use std::collections::{BTreeMap, BTreeSet};

/// How a process comes to be the child of its parent, in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Its parent makes it, in the session that it is in (at the end, or at first).
    ByParent,
    /// The session's leader makes it, as its sibling.
    Beside(i32),
    /// A go-between makes it, which this process makes, and ends.
    Below(i32),
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
    /// The stand-in for a session's leader becomes a child of a process.
    Place { session: i32, under: i32 },
    /// The parent of these roots, who leads a session of its own, is born into theirs.
    Bear(Roots),
    /// A process is made further down, under another one.
    Lower { pid: i32, under: i32 },
}

#[derive(Debug, Clone)]
pub(super) struct Births<'a> {
    nodes: &'a BTreeMap<i32, Node>,
    /// Parents of stand-ins for sessions' leaders.
    placed: BTreeMap<i32, i32>,
    /// Sessions into which leaders of other ones are born, where that matters.
    born_in: BTreeMap<i32, i32>,
    /// Those that are made further down.
    lowered: BTreeMap<i32, i32>,
    ways: BTreeMap<Roots, Way>,
    /// Roots for which no way was found yet.
    waiting: BTreeSet<Roots>,
    /// Which of the choices is tried first.
    beginning: usize,
}

impl<'a> Births<'a> {
    /// Searches for a way for everybody; not for ever. A wrong choice at the beginning may cost very many others: rather
    /// than all of them, other beginnings are tried.
    pub fn search(nodes: &'a BTreeMap<i32, Node>) -> Result<Births<'a>, Unbuildable> {
        const BEGINNINGS: usize = 20;
        const MOST_TRIES: usize = 200;
        let mut births = Births {
            nodes,
            placed: BTreeMap::new(),
            born_in: BTreeMap::new(),
            lowered: BTreeMap::new(),
            ways: BTreeMap::new(),
            waiting: BTreeSet::new(),
            beginning: 0,
        };
        for (pid, node) in nodes.iter().filter(|(_, node)| node.role != Role::StandIn) {
            if node.sid != *pid {
                births.need(node.sid, node.ppid);
            }
        }
        let mut left = None;
        for beginning in 0..BEGINNINGS {
            births.beginning = beginning;
            match births.settle(&mut MOST_TRIES.clone()) {
                Ok(settled) => return Ok(settled),
                Err(roots) => left = left.or(Some(roots)),
            }
        }
        let roots = left.unwrap_or(Roots {
            session: 0,
            parent: 0,
        });
        Err(Unbuildable {
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

    /// How a process comes to be the child of its parent.
    pub fn way(&self, pid: i32, node: &Node) -> Way {
        if let Some(under) = self.lowered.get(&pid) {
            return Way::Below(*under);
        }
        let roots = Roots {
            session: self.birth(pid, node),
            parent: node.ppid,
        };
        self.ways.get(&roots).copied().unwrap_or(Way::ByParent)
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
                    && !self.lowered.contains_key(pid)
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
        let mut choices = births.choices();
        if let Some(first) = births.beginning.checked_rem(choices.len()) {
            choices.rotate_left(first);
        }
        for choice in choices {
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
        let only = |roots: &&Roots| {
            let all = self.waiting.iter().filter(|other| other.session == roots.session);
            self.unplaced(roots.session) && all.count() == 1
        };
        let only = self.waiting.iter().find(only).copied();
        Ok(only.is_some_and(|Roots { session, parent }| {
            self.choose(Choice::Place {
                session,
                under: parent,
            })
        }))
    }

    /// Whether somebody above the parent was in the session: then its leader was made before the parent, and cannot
    /// descend from it.
    fn came_first(&self, roots: Roots) -> bool {
        let mut above = self.ancestors(roots.parent).into_iter();
        above.any(|pid| self.is_born_into(pid, roots.session))
    }

    /// Whether a process leads the session or is born into it.
    fn is_born_into(&self, pid: i32, session: i32) -> bool {
        let node = self.nodes.get(&pid);
        pid == session || node.is_some_and(|node| self.birth(pid, node) == session)
    }

    fn certain(&self, roots: Roots) -> Option<Way> {
        let Roots { session, parent } = roots;
        if self.born_in.get(&parent) == Some(&session) || self.members(roots).next().is_none() {
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
        Some(match beside {
            true => Way::Beside(session),
            false => Way::Below(session),
        })
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
                (_, Way::ByParent) => node.ppid,
                (_, Way::Beside(maker) | Way::Below(maker)) => maker,
            };
            if at == 0 || !above.insert(at) {
                return above;
            }
        }
    }

    /// Whether it is possible.
    fn choose(&mut self, choice: Choice) -> bool {
        match choice {
            Choice::Place { session, under } => {
                self.placed.insert(session, under);
            }
            Choice::Lower { pid, under } => {
                self.lowered.insert(pid, under);
            }
            Choice::Bear(Roots { session, parent }) => {
                let leads = parent != 0 && self.session_of(parent) == parent;
                if !leads || self.born_in.contains_key(&parent) || self.lowered.contains_key(&parent) {
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

    fn choices(&self) -> Vec<Choice> {
        let (to_place, others): (Vec<Roots>, Vec<Roots>) = self
            .waiting
            .iter()
            .partition(|roots| self.unplaced(roots.session));
        let sessions: BTreeSet<i32> = to_place.iter().map(|roots| roots.session).collect();
        let bear = others.iter().map(|roots| Choice::Bear(*roots));
        let place = sessions.into_iter().flat_map(|session| self.places(session));
        let lower = others.iter().flat_map(|roots| self.lower(*roots));
        bear.chain(place).chain(lower).collect()
    }

    /// Where the stand-in for a session's leader would have most of those above it that are to adopt from it.
    fn places(&self, session: i32) -> Vec<Choice> {
        const MOST: usize = 8;
        let wanted = self.waiting.iter().filter(|roots| roots.session == session);
        let wanted: Vec<i32> = wanted.map(|roots| roots.parent).collect();
        let rate = |pid: i32| {
            let mut above = self.ancestors(pid);
            above.insert(pid);
            if above.iter().any(|pid| self.is_born_into(*pid, session)) {
                return None;
            }
            let found = wanted.iter().filter(|parent| above.contains(parent)).count();
            (found > 0).then_some((found, above.len(), pid))
        };
        let living = self.nodes.iter().filter(|(_, node)| node.role == Role::Member);
        let mut rated: Vec<_> = living.filter_map(|(pid, _)| rate(*pid)).collect();
        rated.sort_by_key(|(found, depth, pid)| (usize::MAX - found, *depth, *pid));
        let places = rated.into_iter().take(MOST);
        places
            .map(|(_, _, under)| Choice::Place { session, under })
            .collect()
    }

    /// What brings the leader of a session below the parent of its roots: it, or somebody above it, is made there.
    fn lower(&self, roots: Roots) -> Vec<Choice> {
        let Roots { session, parent } = roots;
        let above_parent = self.ancestors(parent);
        let mut branch = self.ancestors(session);
        branch.insert(session);
        let fits = |pid: &i32| {
            let Some(node) = self.nodes.get(pid).filter(|node| node.role != Role::StandIn) else {
                return false;
            };
            let free = !self.born_in.contains_key(pid) && !self.lowered.contains_key(pid);
            let leads = node.sid == *pid || node.sid == self.session_of(parent);
            let adopted = node.ppid == 0 || above_parent.contains(&node.ppid);
            free && leads && adopted && *pid != parent && !above_parent.contains(pid)
        };
        let branch = branch.into_iter().filter(fits);
        branch.map(|pid| Choice::Lower { pid, under: parent }).collect()
    }
}
