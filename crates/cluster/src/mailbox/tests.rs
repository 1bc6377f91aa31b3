#![allow(clippy::unwrap_used)]

use super::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn is_readable(mailbox: &Mailbox<u32>) -> bool {
    let mut fds = [PollFd::new(mailbox, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn the_descriptor_says_whether_something_waits() {
    let mailbox = Mailbox::new().unwrap();
    assert!(!is_readable(&mailbox));
    mailbox.put(1);
    mailbox.put(2);
    assert!(is_readable(&mailbox));
    assert_eq!(mailbox.take(None).unwrap(), Some(1));
    assert!(is_readable(&mailbox), "another one waits");
    assert_eq!(mailbox.take(None).unwrap(), Some(2));
    assert!(!is_readable(&mailbox));
    assert_eq!(mailbox.take(Some(Duration::ZERO)).unwrap(), None);
    mailbox.put(3);
    assert!(is_readable(&mailbox));
}

#[test]
fn what_came_before_the_end_is_read_first() {
    let mailbox = Mailbox::new().unwrap();
    mailbox.put(1);
    mailbox.close("over");
    mailbox.close("something else");
    mailbox.put(2);
    assert_eq!(mailbox.take(None).unwrap(), Some(1));
    assert!(is_readable(&mailbox), "there is something to know");
    assert!(matches!(mailbox.take(None), Err(Error::Lost(why)) if why == "over"));
    assert!(is_readable(&mailbox));
}

#[test]
fn whoever_waits_is_woken() {
    let mailbox: Mailbox<u32> = Mailbox::new().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| mailbox.take(None));
        std::thread::sleep(Duration::from_millis(20));
        mailbox.put(7);
        assert_eq!(waiting.join().unwrap().unwrap(), Some(7));
        let waiting = scope.spawn(|| mailbox.take(None));
        std::thread::sleep(Duration::from_millis(20));
        let closing = mailbox.closing("it has panicked");
        let _ = std::thread::spawn(move || {
            let _closing = closing;
        })
        .join();
        assert!(waiting.join().unwrap().is_err());
    });
}

#[test]
fn a_time_out_is_kept() {
    let mailbox: Mailbox<u32> = Mailbox::new().unwrap();
    let began = Instant::now();
    assert_eq!(mailbox.take(Some(Duration::from_millis(50))).unwrap(), None);
    assert!(began.elapsed() >= Duration::from_millis(50));
}
