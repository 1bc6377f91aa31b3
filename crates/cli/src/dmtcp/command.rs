//! `dmtcp_command`: asks the computations of a port.

use super::options::{Command, DEFAULT_PORT, OrderArgs};
use super::port::{Record, from_environment};
use super::words::canonical;
use crate::control::{Reply, Request, Status, ask};
use crate::duration::Interval;
use crate::message;
use crate::registry::{self, Found};
use clap::Parser;
use serde::Serialize;
use std::ffi::OsString;
use std::process::ExitCode;

/// What is printed with `--json`: the fields of DMTCP's schema 1.
#[derive(Debug, Default, Serialize)]
struct Answer {
    schema_version: u32,
    command: &'static str,
    command_status: &'static str,
    coordinator_host: String,
    coordinator_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_peers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<String>,
    #[serde(skip)]
    sentence: String,
}

const SUCCESS: &str = "DMT_COORD_SUCCESS";
const NOT_FOUND: &str = "DMT_COORD_NOT_FOUND";
const NOT_RUNNING: &str = "DMT_COORD_NOT_RUNNING";
const INVALID: &str = "DMT_COORD_INVALID_COMMAND";

/// See the module. Exit status 0, 1 for wrong use, 2 for failure.
pub fn command(words: Vec<OsString>) -> ExitCode {
    let json = words.iter().any(|word| word == "--json");
    match Command::try_parse_from(canonical(words)) {
        Ok(args) => answer(&args),
        Err(_) if json => {
            let host = host(None);
            message::print_json(&Answer {
                schema_version: 1,
                command: "DMT_INVALID_COORDINATOR_COMMAND",
                command_status: INVALID,
                coordinator_host: host,
                coordinator_port: port(None),
                ..Answer::default()
            });
            ExitCode::from(2)
        }
        Err(explanation) => {
            let _ = explanation.print();
            ExitCode::from(1)
        }
    }
}

fn host(option: Option<String>) -> String {
    option
        .or_else(|| std::env::var("DMTCP_COORD_HOST").ok())
        .unwrap_or_else(|| "localhost".to_string())
}

fn port(option: Option<u16>) -> u16 {
    option
        .or_else(|| from_environment(|name| std::env::var(name).ok()))
        .unwrap_or(DEFAULT_PORT)
}

fn answer(args: &Command) -> ExitCode {
    let port = port(args.coord_port);
    let computations = computations(port);
    let coordinator = Record::of(port);
    let mut answer = if computations.is_empty() && coordinator.is_none() {
        Answer {
            command_status: NOT_FOUND,
            sentence: not_found(args),
            ..Answer::default()
        }
    } else {
        obey(&args.order, &computations, coordinator)
    };
    answer.schema_version = 1;
    answer.command = name_of(&args.order);
    answer.coordinator_host = host(args.coord_host.clone());
    answer.coordinator_port = port;
    print(args, &answer);
    ExitCode::from(if answer.command_status == SUCCESS { 0 } else { 2 })
}

/// The computations that were launched with a port under a DMTCP name, and that can be asked.
pub(super) fn computations(port: u16) -> Vec<Found> {
    let all = registry::all().into_iter();
    all.filter(|one| one.entry.dmtcp_port == Some(port) && one.is_protected())
        .collect()
}

fn not_found(args: &Command) -> String {
    let hint = if args.coord_port.is_some() {
        "Check port and host."
    } else {
        "Give its port with --coord-port."
    };
    format!("no coordinator or computation found. {hint}")
}

fn name_of(order: &OrderArgs) -> &'static str {
    match order {
        OrderArgs { status: true, .. } => "DMT_STATUS",
        OrderArgs { list: true, .. } => "DMT_LIST",
        OrderArgs { checkpoint: true, .. } => "DMT_CHECKPOINT",
        OrderArgs {
            bcheckpoint: true, ..
        } => "DMT_BLOCKING_CKPT",
        OrderArgs {
            kcheckpoint: true, ..
        } => "DMT_KILL_AFTER_CKPT",
        OrderArgs {
            interval: Some(_), ..
        } => "DMT_UPDATE_CKPT_INTERVAL",
        OrderArgs { kill: true, .. } => "DMT_KILL",
        _ => "DMT_QUIT",
    }
}

fn obey(order: &OrderArgs, computations: &[Found], coordinator: Option<Record>) -> Answer {
    if order.status || order.list {
        return look(order, computations, coordinator);
    }
    if order.checkpoint || order.bcheckpoint || order.kcheckpoint {
        return checkpoint(order, computations);
    }
    if let Some(interval) = order.interval {
        return set_interval(interval, computations, coordinator);
    }
    let answer = tell(Request::Kill, computations);
    if let (true, Some(coordinator)) = (order.quit, coordinator) {
        coordinator.withdraw();
    }
    answer
}

fn look(order: &OrderArgs, computations: &[Found], coordinator: Option<Record>) -> Answer {
    let statuses: Vec<Status> = computations.iter().filter_map(status_of).collect();
    let interval = statuses.first().map(|status| status.interval_seconds);
    let interval = interval
        .or(coordinator.map(|one| one.interval_seconds))
        .unwrap_or(0.0);
    let processes = statuses.iter().map(|status| status.processes.len()).sum();
    let running = !statuses.is_empty() && statuses.iter().all(|status| status.writing.is_none());
    let answer = Answer {
        command_status: SUCCESS,
        ..Answer::default()
    };
    if order.list {
        return Answer {
            workers: Some(list(&statuses)),
            ..answer
        };
    }
    Answer {
        num_peers: Some(processes),
        running: Some(running),
        checkpoint_interval: Some(interval.ceil() as u64),
        ..answer
    }
}

fn status_of(one: &Found) -> Option<Status> {
    match ask(&one.socket(), Request::Status) {
        Ok(Reply::Status(status)) => Some(*status),
        _ => None,
    }
}

/// One line per process, in DMTCP's columns.
pub(super) fn list(statuses: &[Status]) -> String {
    let host = crate::place::Machine::here().host;
    let mut text =
        "Client List:\n#, PROG[virtPID:realPID]@HOST, DMTCP-UNIQUEPID, STATE, BARRIER\n".to_string();
    let mut number = 0;
    for status in statuses {
        for pid in &status.processes {
            number += 1;
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let state = if status.writing.is_some() {
                "CHECKPOINTING"
            } else {
                "RUNNING"
            };
            let (name, id) = (name.trim(), &status.computation);
            text += &format!("{number}, {name}[{pid}:{pid}]@{host}, {id}-{pid}, WorkerState::{state}, \n");
        }
    }
    text
}

fn checkpoint(order: &OrderArgs, computations: &[Found]) -> Answer {
    if computations.is_empty() {
        let sentence = "no computation runs".to_string();
        return Answer {
            command_status: NOT_RUNNING,
            sentence,
            ..Answer::default()
        };
    }
    let peers = computations
        .iter()
        .filter_map(status_of)
        .map(|status| status.processes.len())
        .sum();
    let request = Request::Checkpoint {
        stop: order.kcheckpoint,
        wait: !order.checkpoint,
    };
    Answer {
        num_peers: Some(peers),
        ..tell(request, computations)
    }
}

fn set_interval(interval: Interval, computations: &[Found], coordinator: Option<Record>) -> Answer {
    let seconds = interval.seconds();
    if let Some(coordinator) = coordinator
        && let Err(failure) = (Record {
            interval_seconds: seconds,
            ..coordinator
        })
        .publish()
    {
        message::warn(failure);
    }
    Answer {
        checkpoint_interval: Some(seconds.ceil() as u64),
        ..tell(Request::Interval { seconds }, computations)
    }
}

/// Tells all of them; the first failure is the answer.
fn tell(request: Request, computations: &[Found]) -> Answer {
    let mut sentences = Vec::new();
    for one in computations {
        match ask(&one.socket(), request.clone()) {
            Ok(Reply::Failed { sentence, .. }) => sentences.push(sentence),
            Ok(_) => {}
            Err(failure) => sentences.push(failure.to_string()),
        }
    }
    let command_status = if sentences.is_empty() {
        SUCCESS
    } else {
        NOT_RUNNING
    };
    Answer {
        command_status,
        sentence: sentences.join("; "),
        ..Answer::default()
    }
}

fn print(args: &Command, answer: &Answer) {
    if args.json {
        return message::print_json(answer);
    }
    if answer.command_status != SUCCESS {
        return message::fail(&answer.sentence);
    }
    let host_and_port = format!(
        "Coordinator:\n  Host: {}\n  Port: {}\n",
        answer.coordinator_host, answer.coordinator_port
    );
    if let Some(workers) = &answer.workers {
        message::print(&(host_and_port + workers));
    } else if args.order.status {
        let running = if answer.running == Some(true) { "yes" } else { "no" };
        let interval = match answer.checkpoint_interval {
            Some(0) | None => "0 (checkpoint manually)".to_string(),
            Some(seconds) => seconds.to_string(),
        };
        let peers = answer.num_peers.unwrap_or(0);
        message::print(&format!(
            "{host_and_port}Status...\n  NUM_PEERS={peers}\n  RUNNING={running}\n  CKPT_INTERVAL={interval}\n"
        ));
    } else if args.order.interval.is_some() {
        message::print(&format!(
            "Interval changed to {}\n",
            answer.checkpoint_interval.unwrap_or(0)
        ));
    }
}
