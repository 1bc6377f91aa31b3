//! `rethaw rsh HOST COMMAND…`: what launchers of parallel programs use in place of ssh, so that what they start on other
//! nodes belongs to the computation. And `rethaw __remote`, the process that it starts there.
//!
//! It asks the rethaw that supervises it for an agent on the other node. The agent starts `__remote`, which connects back;
//! from then on nothing of rethaw is between the two.

use super::pipe::{Channel, Sender, receive};
use crate::control::{RemoteCommand, Request, demand};
use crate::failure::{Context, Failure, Result, status};
use crate::registry;
use crate::state::Text;
use rethaw_engine::wait_readable;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Name of the hidden subcommand of the other end.
pub const REMOTE: &str = "__remote";
/// Which computation a program belongs to, in its environment.
pub const COMPUTATION: &str = "RETHAW_COMPUTATION";
/// Under this name, rethaw is `rethaw rsh`: some launchers want one word.
pub const NAME: &str = "rethaw-rsh";

/// How long the other node may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of ssh that launchers use, with a word behind them.
const WITH_WORD: [&str; 9] = ["-b", "-c", "-E", "-F", "-i", "-l", "-o", "-p", "-S"];

/// See the module. `words` are those of ssh: options, host, command.
pub fn rsh(words: &[OsString]) -> Result<ExitCode> {
    let (host, command) = parse(words).ok_or_else(|| {
        Failure::with_status(status::USAGE, "usage: rethaw rsh [SSH-OPTIONS] HOST COMMAND...")
    })?;
    if is_here(&host) {
        let error = shell(&command).exec();
        return Err(error).context(|| "run a shell".to_string());
    }
    let listener = TcpListener::bind("[::]:0")
        .or_else(|_| TcpListener::bind("0.0.0.0:0"))
        .context(|| "listen for the other node".to_string())?;
    let token = crate::state::random_id()?;
    let request = RemoteCommand {
        host: host.clone(),
        command: remote_command(&listener, &token, &command)?,
        folder: std::env::current_dir()
            .map(|folder| folder.as_os_str().into())
            .ok(),
    };
    demand(&supervisor()?, Request::Remote(request))?;
    let stream = await_token(&listener, &token)
        .ok_or_else(|| Failure::said(format!("{host} did not connect within {} s", PATIENCE.as_secs())))?;
    drop(listener);
    serve(stream, &host)
}

fn parse(words: &[OsString]) -> Option<(String, OsString)> {
    let mut words = words.iter();
    let host = loop {
        let word = words.next()?.to_str()?;
        if WITH_WORD.contains(&word) {
            words.next()?;
        } else if !word.starts_with('-') {
            break word;
        }
    };
    let host = host.rsplit('@').next()?.to_owned();
    // As ssh does: the words are joined, and a shell takes them apart.
    let command: Vec<&OsStr> = words.map(OsString::as_os_str).collect();
    (!command.is_empty()).then(|| (host, command.join(OsStr::new(" "))))
}

pub fn is_here(host: &str) -> bool {
    let own = crate::place::host_name();
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok(),
        Err(_) => host == "localhost" || short(host) == short(&own),
    }
}

fn shell(command: &OsStr) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell
}

/// What runs on the other node.
fn remote_command(listener: &TcpListener, token: &str, command: &OsStr) -> Result<Vec<Text>> {
    let port = listener
        .local_addr()
        .context(|| "listen for the other node".to_string())?
        .port();
    let addresses: Vec<String> = super::place::own_addresses()
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port).to_string())
        .collect();
    let addresses = addresses.join(",");
    let myself = std::env::current_exe().context(|| "find the rethaw binary".to_string())?;
    let words = [
        myself.as_os_str(),
        OsStr::new(REMOTE),
        OsStr::new(&addresses),
        OsStr::new(token),
        command,
    ];
    Ok(words.into_iter().map(Text::from).collect())
}

/// Control socket of the rethaw that this process runs under.
fn supervisor() -> Result<std::path::PathBuf> {
    let computation = std::env::var_os(COMPUTATION).ok_or_else(|| {
        Failure::said("`rethaw rsh` is for programs that run under `rethaw run`; outside, use ssh")
    })?;
    Ok(registry::find(Some(&computation))?.socket())
}

/// Accepts until somebody shows the token.
fn await_token(listener: &TcpListener, token: &str) -> Option<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if !wait_readable(listener.as_fd(), Duration::from_secs(1)) {
            continue;
        }
        let Ok((mut stream, _)) = listener.accept() else {
            continue;
        };
        let mut shown = vec![0; token.len()];
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        if stream.read_exact(&mut shown).is_ok() && shown == token.as_bytes() {
            let _ = stream.set_read_timeout(None);
            return Some(stream);
        }
    }
    None
}

/// Passes standard input on, and takes what comes back, until the command has ended.
fn serve(mut stream: TcpStream, host: &str) -> Result<ExitCode> {
    let sender = Sender::new(&stream)?;
    // It ends with this process.
    let _input = sender.pump(Channel::Input, std::io::stdin());
    loop {
        match receive(&mut stream) {
            Ok(Some((Channel::Output, bytes))) => pass_on(&mut std::io::stdout(), &bytes),
            Ok(Some((Channel::Error, bytes))) => pass_on(&mut std::io::stderr(), &bytes),
            Ok(Some((Channel::Status, bytes))) => {
                return Ok(ExitCode::from(bytes.first().copied().unwrap_or(status::FAILED)));
            }
            Ok(Some((Channel::Input, _))) => {}
            Ok(None) | Err(_) => return Err(Failure::said(format!("the connection to {host} was lost"))),
        }
    }
}

fn pass_on(to: &mut impl Write, bytes: &[u8]) {
    // Nobody reading it is no reason to end the command.
    let _ = to.write_all(bytes).and_then(|()| to.flush());
}

/// The other end: `__remote ADDRESSES TOKEN COMMAND`.
pub fn remote(words: &[OsString]) -> Result<ExitCode> {
    let [addresses, token, command] = words else {
        return Err(Failure::with_status(status::USAGE, "this is for rethaw itself"));
    };
    let mut stream = connect(&addresses.to_string_lossy())?;
    stream
        .write_all(token.as_encoded_bytes())
        .context(|| "answer the node that started this".to_string())?;
    let sender = Sender::new(&stream)?;
    let mut child = shell(command)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "run a shell".to_string())?;
    let outputs = [
        child.stdout.take().map(|pipe| sender.pump(Channel::Output, pipe)),
        child.stderr.take().map(|pipe| sender.pump(Channel::Error, pipe)),
    ];
    let over = feed(stream, &mut child);
    let ended = child.wait().context(|| "wait for the command".to_string())?;
    let code = ended
        .code()
        .or(ended.signal().map(|signal| 128 + signal))
        .unwrap_or(255) as u8;
    over.store(true, Ordering::Relaxed);
    for output in outputs.into_iter().flatten() {
        let _ = output.join();
    }
    let _ = sender.send(Channel::Status, &[code]);
    sender.close();
    Ok(ExitCode::from(code))
}

fn connect(addresses: &str) -> Result<TcpStream> {
    let mut last = std::io::Error::from(std::io::ErrorKind::InvalidInput);
    for address in addresses
        .split(',')
        .filter_map(|text| text.parse::<SocketAddr>().ok())
    {
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last).context(|| format!("connect to {addresses}"))
}

/// Gives the command its input, from another thread. When the connection ends, so does the command, as under sshd,
/// unless it is over by then.
fn feed(mut stream: TcpStream, child: &mut Child) -> Arc<AtomicBool> {
    let mut input = child.stdin.take();
    let group = rustix::process::Pid::from_raw(child.id().cast_signed());
    let over = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::clone(&over);
    std::thread::spawn(move || {
        loop {
            match receive(&mut stream) {
                Ok(Some((Channel::Input, bytes))) if bytes.is_empty() => input = None,
                Ok(Some((Channel::Input, bytes))) => {
                    let taken = input.as_mut().map(|input| input.write_all(&bytes));
                    if let Some(Err(_)) = taken {
                        input = None;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(group) = group.filter(|_| !has_ended.load(Ordering::Relaxed)) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::HUP);
            std::thread::sleep(Duration::from_secs(1));
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    });
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Option<(String, OsString)> {
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn command_lines_of_ssh() {
        let expected = |host: &str, command: &str| Some((host.to_owned(), OsString::from(command)));
        assert_eq!(
            parsed(&["node2", "orted", "-mca"]),
            expected("node2", "orted -mca")
        );
        assert_eq!(
            parsed(&["-x", "-o", "BatchMode yes", "me@node2", "a", "'b c'"]),
            expected("node2", "a 'b c'")
        );
        assert_eq!(parsed(&["node2"]), None);
        assert_eq!(parsed(&["-x"]), None);
    }

    #[test]
    fn this_machine_is_here() {
        assert!(is_here("localhost") && is_here("127.0.0.1"));
        assert!(is_here(&crate::place::host_name()));
        assert!(!is_here("192.0.2.1"));
    }
}
