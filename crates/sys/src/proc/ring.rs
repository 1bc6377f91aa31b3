//! What fdinfo tells of an io_uring instance (io_uring/fdinfo.c).

use super::parse::{Parsed, decimal, hex, key_value, unexpected};

/// An io_uring instance, as seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingInfo {
    /// Entries of the submission queue, less one.
    pub sq_mask: u32,
    /// Entries of the completion queue, less one.
    pub cq_mask: u32,
    /// How many entries the kernel has taken from the submission queue (modulo 2^32), and how many it has said so of.
    pub taken: u32,
    /// See `taken`.
    pub sq_head: u32,
    /// As the program has it.
    pub sq_tail: u32,
    /// As the program has it.
    pub cq_head: u32,
    /// How many completions the kernel has put into the completion queue (modulo 2^32), and how many it shows.
    pub completed: u32,
    /// See `completed`.
    pub cq_tail: u32,
    /// The thread that polls the submission queue; -1 if there is none.
    pub poller: i32,
    /// Registered files, by their place: what /proc/PID/fd would show. `None` for an empty place.
    pub files: Vec<Option<Vec<u8>>>,
    /// Registered buffers: address and length. `None` for an empty place.
    pub buffers: Vec<Option<(u64, u64)>>,
    /// There are registered personalities.
    pub personalities: bool,
    /// Operations that wait for a file to become ready.
    pub polls: usize,
    /// Completions for which there was no room.
    pub overflown: usize,
    /// Busy polling of network devices is on.
    pub busy_polling: bool,
}

/// Which list the lines belong to.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Other,
    Files,
    Buffers,
    Polls,
    Overflow,
}

/// More entries than a table can have (IORING_MAX_FIXED_FILES) are not believed.
const MOST: usize = 1 << 20;

impl RingInfo {
    /// From the lines of fdinfo that not every descriptor has. `None`: the kernel was using the instance and does not
    /// describe it in this moment.
    pub fn parse(lines: &[Vec<u8>]) -> Parsed<Option<RingInfo>> {
        let mut ring = RingInfo {
            poller: -1,
            ..RingInfo::default()
        };
        let (mut part, mut seen) = (Part::Other, 0);
        for line in lines {
            if line.starts_with(b" ") {
                ring.entry(part, line)?;
                continue;
            }
            let Some((key, value)) = key_value(line) else {
                continue;
            };
            part = match key {
                b"UserFiles" => Part::Files,
                b"UserBufs" => Part::Buffers,
                b"PollList" => Part::Polls,
                b"CqOverflowList" => Part::Overflow,
                _ => Part::Other,
            };
            seen += usize::from(ring.place(key, value)?);
        }
        Ok((seen == 10).then_some(ring))
    }

    /// Takes in a line with a value. True for those that have to be there.
    fn place(&mut self, key: &[u8], value: &[u8]) -> Parsed<bool> {
        match key {
            b"SqMask" => self.sq_mask = mask(value)?,
            b"CqMask" => self.cq_mask = mask(value)?,
            b"CachedSqHead" => self.taken = decimal("head", value)?,
            b"SqHead" => self.sq_head = decimal("head", value)?,
            b"SqTail" => self.sq_tail = decimal("tail", value)?,
            b"CqHead" => self.cq_head = decimal("head", value)?,
            b"CachedCqTail" => self.completed = decimal("tail", value)?,
            b"CqTail" => self.cq_tail = decimal("tail", value)?,
            b"UserFiles" => self.files = vec![None; count(value)?],
            b"UserBufs" => self.buffers = vec![None; count(value)?],
            b"SqThread" => {
                self.poller = decimal("thread", value)?;
                return Ok(false);
            }
            b"Personalities" => {
                self.personalities = true;
                return Ok(false);
            }
            b"NAPI" => {
                self.busy_polling = value != b"disabled";
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn entry(&mut self, part: Part, line: &[u8]) -> Parsed<()> {
        match part {
            Part::Polls => self.polls += 1,
            Part::Overflow => self.overflown += 1,
            Part::Other => {}
            Part::Files | Part::Buffers => {
                let missing = || unexpected("registered entry", line);
                let colon = line.iter().position(|&byte| byte == b':').ok_or_else(missing)?;
                let index: usize = decimal("place", line[..colon].trim_ascii())?;
                let value = line[colon + 1..].trim_ascii();
                if value == b"<none>" {
                } else if part == Part::Files {
                    *self.files.get_mut(index).ok_or_else(missing)? = Some(value.to_vec());
                } else {
                    let slash = value.iter().position(|&byte| byte == b'/').ok_or_else(missing)?;
                    let digits = value[..slash].strip_prefix(b"0x").ok_or_else(missing)?;
                    let range = (hex("address", digits)?, decimal("length", &value[slash + 1..])?);
                    *self.buffers.get_mut(index).ok_or_else(missing)? = Some(range);
                }
            }
        }
        Ok(())
    }
}

/// One less than a power of two, in hexadecimal.
fn mask(value: &[u8]) -> Parsed<u32> {
    let digits = value.strip_prefix(b"0x").unwrap_or(value);
    let mask = hex("mask", digits)?;
    match u32::try_from(mask) {
        Ok(mask) if mask < 1 << 24 && (mask + 1).is_power_of_two() => Ok(mask),
        _ => Err(unexpected("mask", value)),
    }
}

fn count(value: &[u8]) -> Parsed<usize> {
    let count = decimal("count", value)?;
    if count > MOST {
        return Err(unexpected("count", value));
    }
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "SqMask:\t0x7\nSqHead:\t5\nSqTail:\t6\nCachedSqHead:\t5\nCqMask:\t0xf\nCqHead:\t3\nCqTail:\t4\n\
CachedCqTail:\t4\nSQEs:\t1\n    5: opcode:NOP, fd:0\nCQEs:\t1\n    3: user_data:1, res:0, flag:0\nSqThread:\t-1\n\
SqThreadCpu:\t-1\nUserFiles:\t3\n    0: /etc/a file\n    2: socket:[17]\nUserBufs:\t2\n    0: 0x557f/5000\n    1: <none>\n\
Personalities:\n    1\n\tUid:\t0\nPollList:\n  op=6, task_works=0\nCqOverflowList:\n  user_data=1, res=0, flags=0\n\
NAPI:\tdisabled";

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.split('\n').map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn lines_become_fields() {
        let ring = RingInfo::parse(&lines(TEXT)).unwrap().unwrap();
        let expected = RingInfo {
            sq_mask: 7,
            cq_mask: 15,
            taken: 5,
            sq_head: 5,
            sq_tail: 6,
            cq_head: 3,
            completed: 4,
            cq_tail: 4,
            poller: -1,
            files: vec![Some(b"/etc/a file".to_vec()), None, Some(b"socket:[17]".to_vec())],
            buffers: vec![Some((0x557f, 5000)), None],
            personalities: true,
            polls: 1,
            overflown: 1,
            busy_polling: false,
        };
        assert_eq!(ring, expected);
        assert_eq!(RingInfo::parse(&lines("SqThread:\t-1")).unwrap(), None);
        assert!(RingInfo::parse(&lines("UserFiles:\t99999999999")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..TEXT.len(), byte: u8) {
            let mut text = TEXT.as_bytes().to_vec();
            text[at] = byte;
            let lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            let _ = RingInfo::parse(&lines);
        }
    }
}
