//! Threads, channels, maps and panics caught: threads LOG ITERATIONS [WORK]
//!
//! One line per iteration to stdout and to LOG; the sums do not depend on the schedule.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

type Piece = (usize, u64);

fn compute(mut value: u64, work: u64) -> u64 {
    let mut counts: BTreeMap<u64, String> = BTreeMap::new();
    for _ in 0..work {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        *counts.entry(value % 100).or_default() = format!("{value:x}");
    }
    counts.iter().fold(value, |sum, (key, text)| sum.wrapping_mul(31).wrapping_add(key * text.len() as u64))
}

fn worker(pieces: Arc<Mutex<Receiver<Piece>>>, results: Sender<Piece>, work: u64) {
    loop {
        let piece = pieces.lock().expect("a worker panicked").recv();
        let Ok((number, value)) = piece else { return };
        let caught = std::panic::catch_unwind(|| if value % 5 == 0 { std::panic::resume_unwind(Box::new(value)) });
        let value = if caught.is_err() { value + 1 } else { value };
        if results.send((number, compute(value, work))).is_err() {
            return;
        }
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let iterations: u64 = arguments[2].parse().expect("iterations");
    let work: u64 = arguments.get(3).map_or(400, |text| text.parse().expect("work"));
    let mut log = File::create(&arguments[1])?;
    let (to_workers, pieces) = channel::<Piece>();
    let (to_main, results) = channel::<Piece>();
    let pieces = Arc::new(Mutex::new(pieces));
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let (pieces, to_main) = (pieces.clone(), to_main.clone());
            thread::spawn(move || worker(pieces, to_main, work))
        })
        .collect();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let waiter = {
        let gate = gate.clone();
        thread::spawn(move || {
            let mut open = gate.0.lock().expect("gate");
            while !*open {
                open = gate.1.wait(open).expect("gate");
            }
        })
    };
    let mut sum = 1u64;
    for i in 0..iterations {
        for number in 0..32 {
            to_workers.send((number, sum.wrapping_add(number as u64 * 7919))).expect("workers ended");
        }
        let mut values = [0u64; 32];
        for (number, value) in results.iter().take(32) {
            values[number] = value;
        }
        sum = values.iter().fold(sum, |sum, value| sum.wrapping_mul(31).wrapping_add(*value));
        let line = format!("iteration {i} {sum:016x}\n");
        io::stdout().write_all(line.as_bytes())?;
        log.write_all(line.as_bytes())?;
    }
    drop(to_workers);
    for thread in threads {
        thread.join().expect("a worker panicked");
    }
    *gate.0.lock().expect("gate") = true;
    gate.1.notify_all();
    waiter.join().expect("the waiter panicked");
    let line = format!("final {sum:016x}\n");
    io::stdout().write_all(line.as_bytes())?;
    log.write_all(line.as_bytes())
}
