//! Keyrings of a thread and of a process (keyrings(7)): not saved, so keys in them are refused. The session's keyring is
//! the launcher's, as after any other start of the program.

use crate::Result;
use crate::error::{Context, Error};
use crate::foothold::thread_name;
use rethaw_sys::proc::{Pid, Tid};
use rethaw_sys::remote::Remote;

const KEYCTL_GET_KEYRING_ID: u64 = 0;
const KEYCTL_READ: u64 = 11;
const KEY_SPEC_THREAD_KEYRING: i64 = -1;
const KEY_SPEC_PROCESS_KEYRING: i64 = -2;

/// Refuses a thread that has keys. Where there are no keyrings, or they are forbidden, there are no keys.
pub(crate) fn refuse_keys(remote: &mut Remote<'_>, pid: Pid, tid: Tid) -> Result<()> {
    let name = || format!("cannot ask for the keyrings of {}", thread_name(pid, tid));
    for (keyring, whose) in [
        (KEY_SPEC_THREAD_KEYRING, "thread"),
        (KEY_SPEC_PROCESS_KEYRING, "process"),
    ] {
        let arguments = [KEYCTL_GET_KEYRING_ID, keyring.cast_unsigned(), 0, 0, 0, 0];
        let Ok(id) = remote.call(libc::SYS_keyctl, arguments).context(name)? else {
            continue;
        };
        // Without a buffer it tells how long the list of its keys is.
        let list = remote
            .call(libc::SYS_keyctl, [KEYCTL_READ, id, 0, 0, 0, 0])
            .context(name)?;
        if list.is_ok_and(|length| length > 0) {
            return Err(Error::Refused {
                what: format!("keys in the keyring of a {whose}, which cannot be saved"),
                pid: pid.0,
                place: format!("thread {tid}"),
                remedy: "let the program keep them in the keyring of its session or user".to_owned(),
            });
        }
    }
    Ok(())
}
