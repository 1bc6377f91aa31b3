//! The words of dmtcp_command, which takes its commands with and without dashes, long and short.

use std::ffi::OsString;

/// `-kc`, `kc`, `--kcheckpoint` and so on in one form: DMTCP ignores leading dashes of its commands.
pub fn canonical(words: Vec<OsString>) -> Vec<OsString> {
    let mut result = Vec::new();
    let mut is_value = true; // The first word is the name of the program.
    for word in words {
        let text = word.to_string_lossy().into_owned();
        if is_value {
            is_value = false;
            result.push(word);
            continue;
        }
        is_value = matches!(
            text.as_str(),
            "-p" | "-h" | "--coord-port" | "--port" | "--coord-host" | "--host"
        );
        match command_word(text.trim_start_matches('-')) {
            Some((command, number)) if text != "--" => {
                is_value = command == "--interval" && number.is_empty();
                result.push(command.into());
                result.extend((!number.is_empty()).then(|| number.into()));
            }
            _ => result.push(word),
        }
    }
    result
}

fn command_word(word: &str) -> Option<(&'static str, &str)> {
    let command = match word {
        "s" | "status" => "--status",
        "l" | "t" | "list" => "--list",
        "c" | "checkpoint" => "--checkpoint",
        "bc" | "bcheckpoint" => "--bcheckpoint",
        "kc" | "ck" | "K" | "Kc" | "kcheckpoint" | "xc" | "xcheckpoint" => "--kcheckpoint",
        "i" | "interval" => "--interval",
        "k" | "kill" => "--kill",
        "q" | "quit" => "--quit",
        "?" => "--help",
        _ => {
            let number = word
                .strip_prefix('i')
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))?;
            return Some(("--interval", number));
        }
    };
    Some((command, ""))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::dmtcp::options::Command;
    use crate::duration::Interval;
    use clap::Parser;
    use std::time::Duration;

    fn every(seconds: u64) -> Option<Interval> {
        Some(Interval::Every(Duration::from_secs(seconds)))
    }

    fn order(line: &str) -> Option<Command> {
        let words = line.split_ascii_whitespace().map(OsString::from).collect();
        Command::try_parse_from(canonical(words)).ok()
    }

    #[test]
    fn commands_with_and_without_dashes() {
        for line in [
            "dmtcp_command -kc",
            "dmtcp_command kc",
            "dmtcp_command --kcheckpoint",
            "dmtcp_command ck",
        ] {
            assert!(order(line).expect(line).order.kcheckpoint);
        }
        assert!(
            order("dmtcp_command -p 7000 -bc")
                .expect("parsed")
                .order
                .bcheckpoint
        );
        assert!(
            order("dmtcp_command --coord-port 7000 -c")
                .expect("parsed")
                .order
                .checkpoint
        );
        assert!(order("dmtcp_command -h s --json l").expect("parsed").order.list);
        assert_eq!(
            order("dmtcp_command -i 30").expect("parsed").order.interval,
            every(30)
        );
        assert_eq!(
            order("dmtcp_command -i30").expect("parsed").order.interval,
            every(30)
        );
        assert_eq!(
            order("dmtcp_command i0").expect("parsed").order.interval,
            Some(Interval::Never)
        );
        assert!(order("dmtcp_command --not-a-command").is_none());
        assert!(order("dmtcp_command").is_none());
        assert!(order("dmtcp_command -i").is_none());
    }
}
