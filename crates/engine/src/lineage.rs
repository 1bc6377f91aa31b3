//! Who makes whom at a restart, and in which order: parents, sessions and process groups come out as they were.
//! Pure: numbers in, steps out. A checkpoint makes the same plan, to refuse what no restart could build.
//!
//! What the kernel allows (setsid(2), setpgid(2), credentials(7)): a process is born into the session and group of
//! its maker; it can only lead a session of its own, or enter a group of its session. So
//! - a child in a session that its parent has left is made before the parent leaves it, or by a sibling in that session
//!   (CLONE_PARENT in clone(2));
//! - a session or group whose leader has ended needs a *stand-in*: a process with the leader's number, which leads it,
//!   and ends once everybody is there;
//! - an orphan was adopted by the nearest sub-reaper above it, or the init, when its parent ended: it is made by a
//!   *go-between*, who ends while nobody nearer adopts.

mod births;

use births::{Births, Way};
use std::collections::{BTreeMap, BTreeSet};

/// A process among the others. Numbers are the program's; 0 stands for the launcher's session or group, and for
/// the init as a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kin {
    pub pid: i32,
    pub ppid: i32,
    pub pgid: i32,
    pub sid: i32,
    /// It adopts the orphans among its descendants.
    pub subreaper: bool,
    /// It has ended, and its parent has not collected it yet.
    pub ended: bool,
}

/// One step of a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// `by` (0: the init) makes `pid`, as its child or (CLONE_PARENT) as its sibling.
    Make { pid: i32, by: i32, sibling: bool },
    /// It leads a session from now on.
    LeadSession { pid: i32 },
    /// It enters a group; its own number makes one.
    EnterGroup { pid: i32, group: i32 },
    /// It adopts orphans from now on, or no longer.
    Adopt { pid: i32, adopts: bool },
    /// It ends. A stand-in is collected by its parent (0: the init), others stay to be waited for.
    End { pid: i32, collector: Option<i32> },
}

/// Why there is no such plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unbuildable {
    /// The process.
    pub pid: i32,
    /// What it is in.
    pub what: String,
}

/// Plans the making of `kin` (parents before children). `taken` are all numbers of processes and threads.
pub(crate) fn plan(kin: &[Kin], taken: &BTreeSet<i32>) -> Result<Vec<Step>, Unbuildable> {
    let mut family = Family::new(kin, taken);
    family.stand_in_for_leaders(kin);
    family.hold_groups(kin);
    family.find_makers()?;
    let mut steps = family.births()?;
    family.groups(&mut steps);
    family.ends(kin, &mut steps);
    match family.stray(&steps) {
        None => Ok(steps),
        Some(pid) => Err(Unbuildable {
            pid,
            what: format!(
                "the care of process {}, which no orphan of its session would come to",
                family.parent_of(pid)
            ),
        }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Member,
    Ended,
    StandIn,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    ppid: i32,
    pgid: i32,
    sid: i32,
    role: Role,
}

struct Family {
    nodes: BTreeMap<i32, Node>,
    taken: BTreeSet<i32>,
    maker: BTreeMap<i32, i32>,
    /// Those whose maker is their sibling.
    siblings: BTreeSet<i32>,
    /// Session in which a leader has to be born, where that matters.
    born_in: BTreeMap<i32, i32>,
    /// Who adopts the orphans of a process that ends.
    adopter: BTreeMap<i32, i32>,
    /// Stand-ins that make orphans, by (maker, adopter).
    go_betweens: BTreeMap<(i32, i32), i32>,
}

impl Family {
    fn new(kin: &[Kin], taken: &BTreeSet<i32>) -> Family {
        let node = |k: &Kin| Node {
            ppid: k.ppid,
            pgid: k.pgid,
            sid: k.sid,
            role: if k.ended { Role::Ended } else { Role::Member },
        };
        let numbers = kin.iter().flat_map(|k| [k.pid, k.pgid, k.sid]);
        Family {
            nodes: kin.iter().map(|k| (k.pid, node(k))).collect(),
            taken: numbers.chain(taken.iter().copied()).collect(),
            maker: BTreeMap::new(),
            siblings: BTreeSet::new(),
            born_in: BTreeMap::new(),
            adopter: BTreeMap::new(),
            go_betweens: BTreeMap::new(),
        }
    }

    fn session_of(&self, pid: i32) -> i32 {
        self.nodes.get(&pid).map_or(0, |node| node.sid)
    }

    fn parent_of(&self, pid: i32) -> i32 {
        self.nodes.get(&pid).map_or(0, |node| node.ppid)
    }

    fn leads_session(&self, pid: i32) -> bool {
        pid != 0 && self.session_of(pid) == pid
    }

    fn stand_in(&mut self, pid: i32, ppid: i32, pgid: i32, sid: i32) {
        self.nodes.entry(pid).or_insert(Node {
            ppid,
            pgid,
            sid,
            role: Role::StandIn,
        });
    }

    /// For leaders of sessions and groups that have ended.
    fn stand_in_for_leaders(&mut self, kin: &[Kin]) {
        for member in kin.iter().filter(|member| member.sid != 0) {
            self.stand_in(member.sid, 0, member.sid, member.sid);
        }
        for member in kin.iter().filter(|member| member.pgid != 0) {
            self.stand_in(member.pgid, member.sid, member.pgid, member.sid);
        }
    }

    /// A group all of whose members lead others, or did, would be empty when the first of them comes: somebody holds it.
    fn hold_groups(&mut self, kin: &[Kin]) {
        let groups: BTreeSet<i32> = kin.iter().map(|k| k.pgid).filter(|group| *group != 0).collect();
        for group in &groups {
            let mut members = kin.iter().filter(|k| k.pgid == *group);
            if members
                .clone()
                .all(|k| k.pid != *group && groups.contains(&k.pid))
                && let Some(member) = members.next()
                && let Some(number) = self.free_number()
            {
                self.stand_in(number, member.sid, *group, member.sid);
            }
        }
    }

    fn free_number(&mut self) -> Option<i32> {
        let number = (2..i32::MAX).find(|number| !self.taken.contains(number))?;
        self.taken.insert(number);
        Some(number)
    }

    fn find_makers(&mut self) -> Result<(), Unbuildable> {
        let nodes = self.nodes.clone();
        let births = Births::search(&nodes)?;
        for (pid, node) in &nodes {
            self.born_in
                .extend(births.session_at_birth(*pid).map(|session| (*pid, session)));
            if node.role == Role::StandIn {
                let parent = match node.sid == *pid {
                    true => births.parent_of_stand_in(*pid),
                    false => node.ppid,
                };
                self.nodes.entry(*pid).and_modify(|node| node.ppid = parent);
                self.maker.insert(*pid, parent);
                continue;
            }
            let (maker, beside) = match births.way(*pid, node) {
                Way::ByParent => (node.ppid, false),
                Way::Beside(leader) => (leader, true),
                Way::Below(maker) => (self.go_between(maker, node.ppid, *pid)?, false),
            };
            self.maker.insert(*pid, maker);
            self.siblings.extend(beside.then_some(*pid));
        }
        Ok(())
    }

    /// A child of `maker` whose orphans `adopter` gets.
    fn go_between(&mut self, maker: i32, adopter: i32, orphan: i32) -> Result<i32, Unbuildable> {
        if let Some(known) = self.go_betweens.get(&(maker, adopter)) {
            return Ok(*known);
        }
        let number = self.free_number().ok_or_else(|| Unbuildable {
            pid: orphan,
            what: "a family that takes all numbers".to_owned(),
        })?;
        let (session, group) = match self.nodes.get(&maker) {
            Some(node) => (node.sid, node.pgid),
            None => (0, 0),
        };
        self.stand_in(number, maker, group, session);
        self.maker.insert(number, maker);
        self.go_betweens.insert((maker, adopter), number);
        self.adopter.insert(number, adopter);
        Ok(number)
    }

    /// Everybody is made; who leads a session begins to, between those children that are born before and after.
    fn births(&self) -> Result<Vec<Step>, Unbuildable> {
        enum Task {
            Children { of: i32, early: bool },
            Step(Step),
        }
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (pid, by) in &self.maker {
            children.entry(*by).or_default().push(*pid);
        }
        let mut steps = Vec::new();
        let mut made = 0;
        let mut tasks = vec![Task::Children { of: 0, early: false }];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Step(step) => steps.push(step),
                Task::Children { of, early } => {
                    let all = children.get(&of).map(Vec::as_slice).unwrap_or_default();
                    for pid in all.iter().rev().filter(|pid| self.is_early(**pid, of) == early) {
                        made += 1;
                        tasks.push(Task::Children {
                            of: *pid,
                            early: false,
                        });
                        if self.leads_session(*pid) {
                            tasks.push(Task::Step(Step::LeadSession { pid: *pid }));
                            tasks.push(Task::Children {
                                of: *pid,
                                early: true,
                            });
                        }
                        let sibling = self.siblings.contains(pid);
                        let (pid, by) = (*pid, of);
                        tasks.push(Task::Step(Step::Make { pid, by, sibling }));
                    }
                }
            }
        }
        let nobody = || Unbuildable {
            pid: 0,
            what: "a family in which somebody descends from himself".to_owned(),
        };
        if made == self.nodes.len() {
            Ok(steps)
        } else {
            Err(nobody())
        }
    }

    /// Whether a child is born before its maker leads its session.
    fn is_early(&self, pid: i32, maker: i32) -> bool {
        let born_in = match self.leads_session(pid) {
            true => self.born_in.get(&pid).copied(),
            false => Some(self.session_of(pid)),
        };
        self.leads_session(maker) && born_in.is_some_and(|session| session != maker)
    }

    /// Groups are made, then entered; who has left the group that has its number leaves it last.
    fn groups(&self, steps: &mut Vec<Step>) {
        let mut now: BTreeMap<i32, i32> = BTreeMap::new();
        for step in steps.iter() {
            match step {
                Step::Make { pid, by, .. } => now.insert(*pid, now.get(by).copied().unwrap_or(0)),
                Step::LeadSession { pid } => now.insert(*pid, *pid),
                _ => None,
            };
        }
        let groups: BTreeSet<i32> = self
            .nodes
            .values()
            .map(|node| node.pgid)
            .filter(|g| *g != 0)
            .collect();
        let mut enter = |pid: i32, group: i32| {
            if group != 0 && now.insert(pid, group) != Some(group) {
                steps.push(Step::EnterGroup { pid, group });
            }
        };
        for group in &groups {
            enter(*group, *group);
        }
        let (leaders, others): (Vec<_>, Vec<_>) =
            self.nodes.iter().partition(|(pid, _)| groups.contains(pid));
        for (pid, node) in others.into_iter().chain(leaders) {
            enter(*pid, node.pgid);
        }
    }

    /// Stand-ins and those that had ended end; sub-reapers begin to adopt. Whoever is made last ends first: above it,
    /// everybody is still there, and whoever is to get its orphans is the only sub-reaper for that moment.
    fn ends(&self, kin: &[Kin], steps: &mut Vec<Step>) {
        let made = steps.iter().filter_map(|step| match step {
            Step::Make { pid, .. } => Some(*pid),
            _ => None,
        });
        let made: Vec<i32> = made.collect();
        for pid in made.into_iter().rev() {
            let Some(node) = self.nodes.get(&pid).filter(|node| node.role != Role::Member) else {
                continue;
            };
            let adopter = self.adopter.get(&pid).copied().filter(|adopter| *adopter != 0);
            steps.extend(adopter.map(|pid| Step::Adopt { pid, adopts: true }));
            let collector = (node.role == Role::StandIn).then_some(node.ppid);
            steps.push(Step::End { pid, collector });
            steps.extend(adopter.map(|pid| Step::Adopt { pid, adopts: false }));
        }
        let reapers = kin.iter().filter(|k| k.subreaper && !k.ended);
        steps.extend(reapers.map(|k| Step::Adopt {
            pid: k.pid,
            adopts: true,
        }));
    }

    /// Somebody who would get another parent than he had: the kernel gives an orphan to the nearest sub-reaper that
    /// there is at that moment (PR_SET_CHILD_SUBREAPER in prctl(2)).
    fn stray(&self, steps: &[Step]) -> Option<i32> {
        let parent_at_birth = |(pid, maker): (&i32, &i32)| match self.siblings.contains(pid) {
            true => (*pid, self.parent_of(*maker)),
            false => (*pid, *maker),
        };
        let mut parents: BTreeMap<i32, i32> = self.maker.iter().map(parent_at_birth).collect();
        let mut reapers = BTreeSet::from([0]);
        for step in steps {
            match *step {
                Step::Adopt { pid, adopts: true } => drop(reapers.insert(pid)),
                Step::Adopt { pid, adopts: false } => drop(reapers.remove(&pid)),
                Step::End { pid, .. } => {
                    let mut adopter = *parents.get(&pid)?;
                    while !reapers.contains(&adopter) {
                        adopter = *parents.get(&adopter)?;
                    }
                    let orphans = parents.values_mut().filter(|parent| **parent == pid);
                    orphans.for_each(|parent| *parent = adopter);
                }
                _ => {}
            }
        }
        let stays = |pid: &i32| self.nodes.get(pid).is_some_and(|node| node.role != Role::StandIn);
        let strayed = |(pid, parent): &(i32, i32)| stays(pid) && *parent != self.parent_of(*pid);
        parents.into_iter().find(strayed).map(|(pid, _)| pid)
    }
}

#[cfg(test)]
mod tests;
