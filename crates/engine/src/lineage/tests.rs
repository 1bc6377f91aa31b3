//! The plan is played on a small model of the kernel: what comes out has to be what was asked for.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

/// A process of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    ppid: i32,
    pgid: i32,
    sid: i32,
    subreaper: bool,
    ended: bool,
}

/// What fork(2), setsid(2), setpgid(2), exit(2) and wait(2) do.
#[derive(Debug, Default, Clone)]
struct Kernel(BTreeMap<i32, Process>);

impl Kernel {
    fn alive(&self, pid: i32) -> bool {
        self.0.get(&pid).is_some_and(|process| !process.ended)
    }

    fn number_in_use(&self, number: i32) -> bool {
        self.0
            .iter()
            .any(|(pid, p)| [*pid, p.pgid, p.sid].contains(&number))
    }

    fn fork(&mut self, pid: i32, by: i32, sibling: bool) {
        assert!(by == 0 || self.alive(by), "{by} cannot make {pid}");
        let ppid = match sibling {
            true => self.0[&by].ppid,
            false => by,
        };
        let (pgid, sid) = self.0.get(&by).map_or((0, 0), |maker| (maker.pgid, maker.sid));
        let child = Process {
            ppid,
            pgid,
            sid,
            subreaper: false,
            ended: false,
        };
        assert!(self.0.insert(pid, child).is_none(), "{pid} is there twice");
    }

    fn setsid(&mut self, pid: i32) {
        assert!(self.alive(pid));
        let leads = self.0.values().any(|p| p.pgid == pid);
        assert!(!leads, "{pid} leads a group and cannot lead a session");
        let process = self.0.get_mut(&pid).unwrap();
        (process.pgid, process.sid) = (pid, pid);
    }

    fn setpgid(&mut self, pid: i32, group: i32) {
        assert!(self.alive(pid));
        let sid = self.0[&pid].sid;
        assert_ne!(sid, pid, "a session leader stays in its group");
        let exists = self.0.values().any(|p| p.pgid == group && p.sid == sid);
        assert!(
            group == pid || exists,
            "{pid} cannot enter group {group}, which is not in its session"
        );
        self.0.get_mut(&pid).unwrap().pgid = group;
    }

    fn adopter_above(&self, pid: i32) -> i32 {
        let mut above = self.0[&pid].ppid;
        while above != 0 && !self.0[&above].subreaper {
            above = self.0[&above].ppid;
        }
        above
    }

    fn exit(&mut self, pid: i32) {
        assert!(self.alive(pid));
        let adopter = self.adopter_above(pid);
        self.0.get_mut(&pid).unwrap().ended = true;
        for child in self.0.values_mut().filter(|p| p.ppid == pid) {
            child.ppid = adopter;
        }
        self.0.retain(|_, p| !(p.ended && p.ppid == 0));
    }

    fn collect(&mut self, pid: i32, by: i32) {
        if let Some(process) = self.0.get(&pid) {
            assert!(process.ended && process.ppid == by, "{by} cannot collect {pid}");
            self.0.remove(&pid);
        }
    }

    fn play(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Make { pid, by, sibling } => self.fork(pid, by, sibling),
                Step::LeadSession { pid } => self.setsid(pid),
                Step::EnterGroup { pid, group } => self.setpgid(pid, group),
                Step::Adopt { pid, adopts } => self.0.get_mut(&pid).unwrap().subreaper = adopts,
                Step::End { pid, collector } => {
                    self.exit(pid);
                    if let Some(by) = collector {
                        self.collect(pid, by);
                    }
                }
            }
        }
    }

    /// Parents before children.
    fn kin(&self) -> Vec<Kin> {
        let mut ordered: Vec<Kin> = Vec::new();
        while ordered.len() < self.0.len() {
            let known: Vec<i32> = ordered.iter().map(|k| k.pid).chain([0]).collect();
            let ready = self
                .0
                .iter()
                .filter(|(pid, p)| known.contains(&p.ppid) && !known.contains(pid));
            let ready: Vec<Kin> = ready
                .map(|(pid, p)| Kin {
                    pid: *pid,
                    ppid: p.ppid,
                    pgid: p.pgid,
                    sid: p.sid,
                    subreaper: p.subreaper,
                    ended: p.ended,
                })
                .collect();
            assert!(!ready.is_empty());
            ordered.extend(ready);
        }
        ordered
    }
}

fn rebuilt(kin: &[Kin]) -> Kernel {
    let mut kernel = Kernel::default();
    let steps = plan(kin, &BTreeSet::new()).unwrap_or_else(|e| panic!("{e:?} of {kin:?}"));
    kernel.play(&steps);
    kernel
}

fn kin(pid: i32, ppid: i32, pgid: i32, sid: i32) -> Kin {
    Kin {
        pid,
        ppid,
        pgid,
        sid,
        subreaper: false,
        ended: false,
    }
}

#[track_caller]
fn comes_back(family: &[Kin]) {
    let mut wanted = family.to_vec();
    let mut got = rebuilt(family).kin();
    wanted.sort_by_key(|k| k.pid);
    got.sort_by_key(|k| k.pid);
    assert_eq!(got, wanted);
}

#[test]
fn a_shell_with_jobs() {
    comes_back(&[
        kin(10, 0, 10, 10),
        kin(11, 10, 11, 10),
        kin(12, 10, 11, 10),
        kin(13, 11, 11, 10),
    ]);
}

#[test]
fn a_job_whose_group_leader_has_ended() {
    comes_back(&[kin(10, 0, 0, 0), kin(12, 10, 11, 0)]);
}

#[test]
fn a_daemon_whose_session_leader_has_ended() {
    comes_back(&[kin(10, 0, 10, 10), kin(21, 0, 20, 20), kin(22, 21, 22, 20)]);
}

#[test]
fn a_child_in_the_session_that_its_parent_has_left() {
    comes_back(&[
        kin(10, 0, 10, 10),
        kin(11, 10, 11, 11),
        kin(12, 11, 10, 10),
        kin(13, 12, 10, 10),
    ]);
}

#[test]
fn a_chain_of_parents_that_left_their_session_later() {
    comes_back(&[
        kin(10, 0, 10, 10),
        kin(11, 10, 11, 11),
        kin(12, 11, 12, 12),
        kin(13, 12, 10, 10),
    ]);
}

#[test]
fn an_orphan_in_the_session_of_a_living_leader() {
    comes_back(&[kin(10, 0, 0, 0), kin(11, 10, 11, 11), kin(12, 0, 11, 11)]);
}

#[test]
fn a_leader_that_was_an_orphan_of_another_session() {
    comes_back(&[kin(10, 0, 10, 10), kin(21, 0, 21, 21), kin(22, 21, 20, 20)]);
}

#[test]
fn a_sibling_of_a_session_leader_that_has_ended() {
    comes_back(&[kin(10, 0, 10, 10), kin(11, 10, 20, 20)]);
}

#[test]
fn orphans_find_the_reaper_that_adopted_them() {
    let outer = Kin {
        subreaper: true,
        ..kin(10, 0, 0, 0)
    };
    let inner = Kin {
        subreaper: true,
        ..kin(11, 10, 0, 0)
    };
    comes_back(&[
        outer,
        inner,
        kin(20, 10, 30, 30),
        kin(21, 11, 31, 31),
        kin(22, 0, 32, 32),
    ]);
}

#[test]
fn ended_leaders_stay_to_be_waited_for() {
    let leader = Kin {
        ended: true,
        ..kin(11, 10, 11, 11)
    };
    comes_back(&[kin(10, 0, 10, 10), leader, kin(12, 0, 11, 11), kin(13, 0, 13, 11)]);
}

#[test]
fn two_that_lead_each_other_s_group() {
    comes_back(&[kin(10, 0, 10, 10), kin(11, 10, 12, 10), kin(12, 10, 11, 10)]);
}

/// Two children of 10 were orphans of sessions that 20 and 21 led; one came by way of the other.
#[test]
fn a_leader_that_had_more_above_it_once() {
    let top = Kin {
        subreaper: true,
        ..kin(10, 0, 10, 10)
    };
    comes_back(&[
        top,
        kin(11, 10, 11, 11),
        kin(15, 10, 15, 15),
        kin(13, 11, 20, 20),
        kin(16, 15, 20, 20),
        kin(18, 15, 21, 21),
        kin(19, 11, 21, 21),
    ]);
}

#[test]
fn what_cannot_be_is_told() {
    let family = [kin(10, 0, 10, 10), kin(11, 10, 10, 10), kin(12, 11, 0, 0)];
    assert!(plan(&family, &BTreeSet::new()).is_err());
}

/// What a program may do.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Fork(usize, bool),
    /// One of the youngest does.
    ForkDeep(usize, bool),
    Setsid(usize),
    Setpgid(usize, usize),
    Reaper(usize, bool),
    Exit(usize),
    Wait(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || 0..64_usize;
    prop_oneof![
        6 => (who(), proptest::bool::weighted(0.2)).prop_map(|(by, sibling)| Deed::Fork(by, sibling)),
        2 => who().prop_map(Deed::Setsid),
        2 => (who(), who()).prop_map(|(a, b)| Deed::Setpgid(a, b)),
        1 => (who(), any::<bool>()).prop_map(|(who, adopts)| Deed::Reaper(who, adopts)),
        3 => who().prop_map(Deed::Exit),
        1 => who().prop_map(Deed::Wait),
    ]
}

/// Lives through the deeds that the kernel allows.
fn live(deeds: &[Deed]) -> Kernel {
    let mut kernel = Kernel::default();
    kernel.fork(100, 0, false);
    for (number, deed) in (101..).zip(deeds) {
        let alive: Vec<i32> = kernel
            .0
            .iter()
            .filter(|(_, p)| !p.ended)
            .map(|(pid, _)| *pid)
            .collect();
        let Some(pick) = (!alive.is_empty()).then_some(|n: usize| alive[n % alive.len()]) else {
            break;
        };
        match *deed {
            Deed::Fork(by, sibling) if !kernel.number_in_use(number) => {
                kernel.fork(number, pick(by), sibling)
            }
            Deed::ForkDeep(by, sibling) if !kernel.number_in_use(number) => {
                let young = by % (alive.len() / 10 + 1);
                kernel.fork(number, alive[alive.len() - 1 - young], sibling)
            }
            Deed::Fork(..) | Deed::ForkDeep(..) => {}
            Deed::Setsid(who) => {
                let who = pick(who);
                if !kernel.0.values().any(|p| p.pgid == who) {
                    kernel.setsid(who);
                }
            }
            Deed::Setpgid(who, into) => {
                let (who, into) = (pick(who), pick(into));
                let (own, group) = (kernel.0[&who], kernel.0[&into].pgid);
                let exists = kernel.0.values().any(|p| p.pgid == group && p.sid == own.sid);
                if own.sid != who && who == into {
                    kernel.setpgid(who, who);
                } else if own.sid != who && group != 0 && exists {
                    kernel.setpgid(who, group);
                }
            }
            Deed::Reaper(who, adopts) => kernel.0.get_mut(&pick(who)).unwrap().subreaper = adopts,
            Deed::Exit(who) if alive.len() > 1 => kernel.exit(pick(who)),
            Deed::Exit(_) => {}
            Deed::Wait(by) => {
                let by = pick(by);
                let ended = kernel.0.iter().find(|(_, p)| p.ended && p.ppid == by);
                if let Some(pid) = ended.map(|(pid, _)| *pid) {
                    kernel.collect(pid, by);
                }
            }
        }
    }
    // A zombie's mark as a sub-reaper means nothing.
    kernel
        .0
        .values_mut()
        .filter(|p| p.ended)
        .for_each(|p| p.subreaper = false);
    kernel
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever programs did, the plan is either refused or right.
    #[test]
    fn every_family_comes_back_or_is_refused(deeds in proptest::collection::vec(deed(), 0..100)) {
        let family = live(&deeds).kin();
        if let Ok(steps) = plan(&family, &BTreeSet::new()) {
            let mut kernel = Kernel::default();
            kernel.play(&steps);
            let mut got = kernel.kin();
            let mut wanted = family;
            got.sort_by_key(|k| k.pid);
            wanted.sort_by_key(|k| k.pid);
            prop_assert_eq!(got, wanted);
        }
    }

    /// Nothing that an image may hold makes it panic or hang.
    #[test]
    fn any_numbers_are_planned_or_refused(
        numbers in proptest::collection::vec((1..12_i32, 0..12_i32, 0..12_i32, 0..12_i32, any::<bool>(), any::<bool>()), 0..12)
    ) {
        let family: Vec<Kin> = numbers
            .into_iter()
            .map(|(pid, ppid, pgid, sid, subreaper, ended)| Kin { pid, ppid, pgid, sid, subreaper, ended })
            .collect();
        let _ = plan(&family, &BTreeSet::new());
    }
}

/// Sub-reapers and sessions come and go all the time.
fn restless_deed() -> impl Strategy<Value = Deed> {
    let who = || 0..1000_usize;
    prop_oneof![
        10 => (who(), any::<bool>()).prop_map(|(by, sibling)| Deed::ForkDeep(by, sibling)),
        7 => who().prop_map(Deed::Setsid),
        10 => (who(), any::<bool>()).prop_map(|(who, adopts)| Deed::Reaper(who, adopts)),
        4 => who().prop_map(Deed::Exit),
        3 => who().prop_map(Deed::Wait),
    ]
}

/// What programs do can be built again; of what only chance does, nearly everything.
#[test]
fn few_families_are_refused() {
    use proptest::collection::vec;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let kinds = [
        (1000, 0, vec(deed(), 0..60).boxed()),
        (200, 0, vec(deed(), 200..400).boxed()),
        (500, 4, vec(restless_deed(), 400..1200).boxed()),
    ];
    for (families, most, deeds) in kinds {
        let mut refused = 0;
        for _ in 0..families {
            let family = live(&deeds.new_tree(&mut runner).unwrap().current()).kin();
            refused += usize::from(plan(&family, &BTreeSet::new()).is_err());
        }
        assert!(refused <= most, "{refused} of {families} are refused");
    }
}
