//! The service manager's socket: parses its address and sends datagrams to it. It never blocks, and does not interpret
//! the messages.
//!
//! The crate `sd-notify` sends only to the socket that the environment names, and treats the `@` of an abstract socket
//! as part of a path. So this module sends, while `sd-notify` formats the messages and reads the watchdog's variables.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::NotifyError;
use crate::text::printable;

#[derive(Debug)]
pub(super) struct Socket {
    from: UnixDatagram,
    to: SocketAddr,
    /// The address for people, escaped.
    name: String,
}

impl Socket {
    pub(super) fn at(address: &OsStr) -> Result<Socket, NotifyError> {
        let name = printable(&address.to_string_lossy()).into_owned();
        let to = match address.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(address),
            [b'@', name @ ..] => abstract_address(name),
            _ => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "not the address of a Unix socket"))
            }
        };
        let to = to.map_err(|source| NotifyError::Address { socket: name.clone(), source })?;
        let from = UnixDatagram::unbound().and_then(|from| {
            from.set_nonblocking(true)?;
            Ok(from)
        });
        match from {
            Ok(from) => Ok(Socket { from, to, name }),
            Err(source) => Err(NotifyError::Unreachable { socket: name, source }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Sends one datagram, or fails at once. The address is resolved each time, so a manager that binds its socket
    /// again is reached again.
    pub(super) fn send(&self, message: &str) -> io::Result<()> {
        self.from.send_to_addr(message.as_bytes(), &self.to).map(|_| ())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;

    SocketAddr::from_abstract_name(name)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract sockets exist on Linux only"))
}
