#![allow(clippy::unwrap_used, clippy::panic)]

use super::bench::Bench;
use super::*;
use crate::message::*;

fn plan(nodes: &[&str]) -> RestartPlan {
    let image = |(agent, node): (u32, &&str)| PlannedImage {
        agent,
        node: node.to_string(),
        addresses: vec![format!("address of {node}")],
        image: format!("image of {agent}").into_bytes(),
    };
    RestartPlan {
        generation: 4,
        images: (0..).zip(nodes).map(image).collect(),
    }
}

fn restart(nodes: &[&str]) -> Bench {
    let mut bench = Bench::new();
    bench.event(Event::Command(Command::Restart(plan(nodes))));
    bench
}

fn prepare(bench: &Bench) -> Prepare {
    let sent = bench.last.iter().find_map(|action| match action {
        Action::Send(_, Order::Prepare(prepare)) => Some(prepare.clone()),
        _ => None,
    });
    sent.unwrap()
}

/// Which number each of these has got.
fn numbers(bench: &Bench, keys: &[u64]) -> Vec<u32> {
    let number = |key: &u64| match bench.orders(*key)[0] {
        Order::Welcome(welcome) => welcome.agent,
        other => panic!("{other:?}"),
    };
    keys.iter().map(number).collect()
}

#[test]
fn all_rebuild_then_all_go() {
    let mut bench = restart(&["a", "b"]);
    assert!(bench.join(0, "x", None).last.is_empty(), "waits for the other");
    bench.join(1, "y", None);
    assert_eq!(numbers(&bench, &[0, 1]), [0, 1]);
    let prepare = prepare(&bench);
    assert_eq!(prepare.generation, 4);
    let one = prepare.of(1).unwrap();
    assert_eq!(
        (&one.old[0], &one.new[0]),
        (&"address of b".to_string(), &"address of y".to_string())
    );
    assert_eq!((one.old_node.as_str(), one.new_node.as_str()), ("b", "y"));
    assert_eq!(one.image, b"image of 1");
    assert!(bench.say(1, Report::Prepared(Prepared {})).last.is_empty());
    bench.say(0, Report::Prepared(Prepared {}));
    assert_eq!(bench.told(|order| matches!(order, Order::Go(_))), [0, 1]);
    assert_eq!(bench.news(), [&News::Restarted { generation: 4 }]);
    bench.request(1, false);
    assert_eq!(
        bench.told(|order| matches!(order, Order::Freeze(one) if one.generation == 5)),
        [0, 1]
    );
}

#[test]
fn addresses_of_nodes_that_stay_are_left_out() {
    let mut bench = restart(&["a", "b"]);
    bench.join(0, "a", None).join(1, "y", None);
    let prepare = prepare(&bench);
    let addresses = |agent| prepare.of(agent).map(|one| (one.old.len(), one.new.len()));
    assert_eq!((addresses(0), addresses(1)), (Some((0, 0)), Some((1, 1))));
}

#[test]
fn each_gets_the_image_that_suits_it() {
    let mut bench = restart(&["a", "b", "c", "d"]);
    bench.join(5, "d", None);
    bench.join(6, "new", Some(2));
    bench.join(7, "b", None);
    bench.join(0, "d", None);
    assert_eq!(numbers(&bench, &[0, 5, 6, 7]), [0, 3, 2, 1]);
}

#[test]
fn who_is_too_many_waits_and_gets_another_number() {
    let mut bench = restart(&["a", "b"]);
    bench.join(5, "x", None);
    assert!(
        bench.join(6, "b", None).last.is_empty(),
        "the local agent takes part"
    );
    bench.join(0, "a", None);
    assert_eq!(numbers(&bench, &[0, 6]), [0, 1]);
    bench.say(0, Report::Prepared(Prepared {}));
    bench.say(6, Report::Prepared(Prepared {}));
    assert_eq!(numbers(&bench, &[5]), [2]);
}

#[test]
fn agents_that_were_there_already_take_part() {
    let mut bench = Bench::of(2);
    bench.event(Event::Command(Command::Restart(plan(&["n1", "n0"]))));
    assert_eq!(
        numbers(&bench, &[0, 1]),
        [0, 1],
        "the local agent is number 0 wherever it is"
    );
}

fn failed() -> Report {
    Report::Failed(Failed {
        attempt: 0,
        sentence: "the file x is gone".to_string(),
        refused: false,
    })
}

#[test]
fn whatever_fails_nothing_runs() {
    let aborts = |order: &Order| matches!(order, Order::Abort(one) if one.attempt == 0);
    let steps: [fn(&mut Bench) -> &mut Bench; 3] = [
        |bench| bench.say(1, failed()),
        |bench| bench.lose(1),
        |bench| bench.say(1, Report::Ended(Ended { status: None })),
    ];
    for (step, left) in steps.into_iter().zip([vec![0, 1], vec![0], vec![0]]) {
        let mut bench = restart(&["a", "b"]);
        bench.join(0, "a", None).join(1, "b", None);
        bench.say(0, Report::Prepared(Prepared {}));
        step(&mut bench);
        assert_eq!(bench.told(aborts), left);
        let failed = |news: &&&News| matches!(news, News::RestartFailed(cause) if cause.to_string().starts_with("b: "));
        assert_eq!(bench.news().iter().filter(failed).count(), 1);
        assert!(
            bench
                .say(1, Report::Prepared(Prepared {}))
                .told(|_| true)
                .is_empty()
        );
    }
}

#[test]
fn agents_that_do_not_come_are_not_waited_for_for_ever() {
    let mut bench = restart(&["a", "b", "c"]);
    bench.join(0, "a", None).join(1, "b", None).lose(1);
    bench.pass(Limits::default().gather);
    let cause = bench.news().into_iter().find_map(|news| match news {
        News::RestartFailed(cause) => Some(cause.to_string()),
        _ => None,
    });
    assert_eq!(cause.unwrap(), "1 of 3 agents have joined within 120 s");
    assert_eq!(bench.told(|order| matches!(order, Order::Kill(_))), [0]);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let mut bench = restart(&[]);
    assert!(matches!(bench.news()[0], News::RestartFailed(_)));
    let mut twice = plan(&["a", "b"]);
    twice.images[1].agent = 0;
    bench.event(Event::Command(Command::Restart(twice)));
    assert!(matches!(bench.news()[0], News::RestartFailed(_)));
}
