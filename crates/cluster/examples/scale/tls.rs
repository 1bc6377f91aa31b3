//! Real connections.

use crate::decisions::hello;
use crate::machine::{ms, status_kib, thread_time};
use rethaw_cluster::*;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Agents of one process: each has some six descriptors there.
const PER_PROCESS: usize = 2500;
/// Checkpoints of which the median is told.
const ROUNDS: usize = 5;

pub fn measure(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let secret = Secret::generate().unwrap();
    secret.store(&path).unwrap();
    let before = status_kib("VmRSS");
    let mut hub = Hub::start(
        &secret,
        Config {
            local: false,
            ..Config::new("0123456789abcdef", 1)
        },
    )
    .unwrap();
    let address = hub.listen(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let began = Instant::now();
    let children: Vec<Child> = (0..count)
        .step_by(PER_PROCESS)
        .map(|first| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--agents", &address.to_string()])
                .arg(&path)
                .args([first.to_string(), PER_PROCESS.min(count - first).to_string()])
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut joined = 0;
    while joined < count {
        match hub.news(Some(Duration::from_secs(120))).unwrap().expect("agents") {
            News::Joined(_) => joined += 1,
            other => panic!("{other:?}"),
        }
    }
    println!(
        "TLS, join: {}, {} of the coordinator's processor",
        ms(began.elapsed()),
        ms(thread_time("rethaw-hub"))
    );
    println!("TLS, memory: {} KiB", status_kib("VmRSS") - before);
    let mut rounds: Vec<[Duration; 3]> = (0..ROUNDS).map(|_| checkpoint(&hub)).collect();
    rounds.sort();
    let [pause, whole, processor] = rounds[ROUNDS / 2];
    println!(
        "TLS, freeze to resume: {}, to done: {}, {} of processor",
        ms(pause),
        ms(whole),
        ms(processor)
    );
    let idle = thread_time("rethaw-hub");
    std::thread::sleep(Duration::from_secs(10));
    let share = (thread_time("rethaw-hub") - idle).as_secs_f64() / 10.0;
    println!("TLS, idle: {:.2} % of a processor", share * 100.0);
    hub.kill();
    let began = Instant::now();
    while !matches!(
        hub.news(Some(Duration::from_secs(60))).unwrap().expect("news"),
        News::Over { .. }
    ) {}
    println!("TLS, kill: {}", ms(began.elapsed()));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(hello(0).version, VERSION);
}

/// Until all run again, until it is committed, and what the coordinator's thread has used.
fn checkpoint(hub: &Hub) -> [Duration; 3] {
    let busy = thread_time("rethaw-hub");
    let began = Instant::now();
    hub.request(1, false, "");
    let mut pause = Duration::ZERO;
    loop {
        match hub.news(Some(Duration::from_secs(120))).unwrap().expect("news") {
            News::Writing { .. } => pause = began.elapsed(),
            News::Verdict(verdict) => {
                assert_eq!(verdict.outcome, Outcome::Committed);
                return [pause, began.elapsed(), thread_time("rethaw-hub") - busy];
            }
            _ => (),
        }
    }
}
