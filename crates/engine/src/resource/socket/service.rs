//! Services of the machine that programs are connected to without having asked for it (the C library connects to
//! the log and to name services).

use rethaw_image::record::UnixSocketV1;

/// Name-service caches and system logs.
const KNOWN: [&[u8]; 8] = [
    b"/dev/log",
    b"/run/log",
    b"/var/run/log",
    b"/run/systemd/journal/dev-log",
    b"/run/systemd/journal/socket",
    b"/run/systemd/journal/syslog",
    b"/run/nscd/socket",
    b"/var/run/nscd/socket",
];
/// Folders with the sockets of such services.
const KNOWN_FOLDERS: [&[u8]; 5] = [
    b"/var/lib/sss/pipes/",
    b"/run/nslcd/",
    b"/var/run/nslcd/",
    b"/run/systemd/userdb/",
    b"/run/systemd/resolve/",
];

/// Whether a socket that is bound there belongs to one of them.
pub(crate) fn is_known(name: &[u8]) -> bool {
    KNOWN.contains(&name) || KNOWN_FOLDERS.iter().any(|folder| name.starts_with(folder))
}

/// A datagram socket is connected again at the restart. A stream comes back as if the service had ended: the
/// libraries expect that of these services, and begin a new conversation themselves, in whatever place the old one
/// was.
pub(super) fn collect(record: &mut UnixSocketV1) {
    if record.socket_type == libc::SOCK_DGRAM {
        record.service = true;
    } else {
        record.peer_closed = true;
        record.shutdown = 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_name_services_are_known() {
        assert!(is_known(b"/dev/log") && is_known(b"/var/lib/sss/pipes/nss"));
        assert!(!is_known(b"/run/dbus/system_bus_socket") && !is_known(b""));
    }
}
