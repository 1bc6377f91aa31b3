//! Connections to programs outside of the computation: `--external`.
#![forbid(unsafe_code)]

use rethaw_harness::{Case, Outcome, PATIENCE, Result, STOPPED, case, ensure_equal, programs};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

/// Exit status of a checkpoint that is refused.
const REFUSED: i32 = 3;

/// A program with a connection to this process, which has sent something that it has not read.
struct Client {
    base: PathBuf,
    words: Vec<OsString>,
    listener: TcpListener,
}

impl Client {
    fn new(case: &Case, end: &str) -> Result<Client> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let base = case.path("program");
        let port = listener.local_addr()?.port().to_string();
        let words = vec![
            programs::binary("outside")?.into(),
            base.clone().into(),
            port.into(),
            end.into(),
        ];
        Ok(Client {
            base,
            words,
            listener,
        })
    }

    fn command(&self) -> Vec<&OsStr> {
        self.words.iter().map(OsString::as_os_str).collect()
    }

    fn serve(&self, case: &Case) -> Result<TcpStream> {
        let mut server = self.listener.accept()?.0;
        server.write_all(b"hello")?;
        case.wait_for_file(&self.base.with_extension("ready"), PATIENCE)?;
        server.write_all(b"unread")?;
        case.wait_until_protected()?;
        Ok(server)
    }

    fn verdict(&self, case: &Case) -> Outcome {
        let result = case.wait_for_file(&self.base.with_extension("result"), PATIENCE)?;
        ensure_equal!(result.trim(), "PASS", "verdict");
        Ok(())
    }

    fn go(&self) -> Outcome {
        Ok(std::fs::write(self.base.with_extension("go"), "")?)
    }
}

#[test]
fn it_is_refused_by_its_address() -> Outcome {
    case("external-refused", |case| {
        let client = Client::new(case, "open")?;
        let mut job = case.launch(&["-i", "never"], &client.command())?;
        let _server = client.serve(case)?;
        let address = format!("{}", client.listener.local_addr()?);
        for word in [address.as_str(), "--external"] {
            case.try_checkpoint(&[])?.exited(REFUSED)?.refused(&[word])?;
        }
        client.go()?;
        client.verdict(case)?;
        job.wait(PATIENCE)?.exited(0)?;
        Ok(())
    })
}

fn comes_back(end: &str, policy: &str) -> Outcome {
    case(&format!("external-{policy}"), |case| {
        let client = Client::new(case, end)?;
        let arguments = ["-i", "never", "--external", policy];
        let mut job = case.launch(&arguments, &client.command())?;
        let server = client.serve(case)?;
        case.checkpoint(&["--stop"])?;
        job.wait(PATIENCE)?.exited(STOPPED)?;
        drop(server);
        client.go()?;
        let mut job = case.restart(&arguments)?;
        client.verdict(case)?;
        job.wait(PATIENCE)?.exited(0)?;
        Ok(())
    })
}

#[test]
fn it_is_closed_after_a_restart() -> Outcome {
    comes_back("closed", "close")
}

#[test]
fn it_is_reset_after_a_restart() -> Outcome {
    comes_back("reset", "reset")
}
