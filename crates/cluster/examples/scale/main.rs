//! What one coordinator costs: agents without processes, on one machine. Figures for docs/scaling.md.
//!
//! `scale [AGENTS…]` measures, for each count: the decisions alone (the coordinator in this process, its messages
//! encoded and dropped), the same over real TLS connections from other processes, and the commit of as many images.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agents;
mod commit;
mod decisions;
mod machine;
mod tls;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--agents") {
        return agents::run(&arguments[1..]);
    }
    let mut counts: Vec<usize> = arguments
        .iter()
        .map(|text| text.parse().expect("a number"))
        .collect();
    if counts.is_empty() {
        counts = vec![1000, 10_000];
    }
    for count in counts {
        println!("## {count} agents");
        decisions::measure(count);
        commit::measure(count);
        tls::measure(count);
    }
}
