//! The connection between `rethaw rsh` and the process that it has started on another node: standard input one way,
//! standard output, standard error and the exit status the other way. Both ends are processes of the computation, so
//! that a checkpoint takes the connection like any other.
//!
//! A frame is one byte for the channel, four for the length (big-endian), and the bytes. A frame of a stream without
//! bytes is its end.

use crate::failure::{Context, Result};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What a frame is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Channel {
    /// Standard input.
    Input = 0,
    /// Standard output.
    Output = 1,
    /// Standard error.
    Error = 2,
    /// How the command ended: a byte.
    Status = 3,
}

const LONGEST: usize = 64 * 1024;

/// The sending side, used by several threads.
#[derive(Debug, Clone)]
pub struct Sender(Arc<Mutex<TcpStream>>);

impl Sender {
    /// Sends over `stream`.
    pub fn new(stream: &TcpStream) -> Result<Sender> {
        let stream = stream.try_clone().context(|| "use a connection".to_string())?;
        Ok(Sender(Arc::new(Mutex::new(stream))))
    }

    /// Sends a frame.
    pub fn send(&self, channel: Channel, bytes: &[u8]) -> io::Result<()> {
        let mut frame = vec![channel as u8];
        frame.extend((bytes.len() as u32).to_be_bytes());
        frame.extend(bytes);
        let mut stream = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stream.write_all(&frame)
    }

    /// Sends all that can be read from `source`, and its end, from another thread.
    pub fn pump(&self, channel: Channel, mut source: impl Read + Send + 'static) -> JoinHandle<()> {
        let sender = self.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; LONGEST];
            loop {
                let bytes = match source.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) | Ok(0) => &[],
                    Ok(length) => buffer.get(..length).unwrap_or_default(),
                };
                if sender.send(channel, bytes).is_err() || bytes.is_empty() {
                    return;
                }
            }
        })
    }

    /// Says that nothing more comes.
    pub fn close(&self) {
        let stream = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = stream.shutdown(Shutdown::Write);
    }
}

/// Receives a frame; none at the end of the connection.
pub fn receive(stream: &mut impl Read) -> io::Result<Option<(Channel, Vec<u8>)>> {
    let mut head = [0; 5];
    match stream.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let [channel, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    let channel = match channel {
        0 => Channel::Input,
        1 => Channel::Output,
        2 => Channel::Error,
        3 => Channel::Status,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(Some((channel, bytes)))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let one = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        (one, listener.accept().expect("accepted").0)
    }

    #[test]
    fn frames_arrive_as_they_were_sent() {
        let (one, mut two) = pair();
        let sender = Sender::new(&one).expect("a sender");
        let pump = sender.pump(Channel::Output, &b"hello"[..]);
        pump.join().expect("ended");
        sender.send(Channel::Status, &[7]).expect("sent");
        sender.close();
        let mut next = || receive(&mut two).expect("received");
        assert_eq!(next(), Some((Channel::Output, b"hello".to_vec())));
        assert_eq!(next(), Some((Channel::Output, vec![])));
        assert_eq!(next(), Some((Channel::Status, vec![7])));
        assert_eq!(next(), None);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(receive(&mut &[9, 0, 0, 0, 0][..]).is_err());
        assert!(receive(&mut &[0, 255, 0, 0, 0][..]).is_err());
        assert!(receive(&mut &[0, 0, 0, 0, 2, 1][..]).is_err());
        assert_eq!(receive(&mut &[][..]).expect("the end"), None);
    }
}
