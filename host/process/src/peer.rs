//! Who is at the other end of a Unix socket.
//!
//! Its groups are those that the kernel noted when it connected. Never looked up by its process: by then that may
//! be another one.

use std::io;
use std::os::fd::BorrowedFd;

/// The supplementary groups of the process that connected (`SO_PEERGROUPS` of Linux 4.13). Empty on systems that
/// cannot tell; there, policies go by the user and its first group.
///
/// # Errors
/// What the system says of a socket that is no Unix socket.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    #[cfg(target_os = "linux")]
    {
        // Enough for nearly everybody; the kernel says how many there are where it is not.
        let mut groups = vec![0_u32; 32];
        loop {
            match ask(socket, &mut groups)? {
                Told::All(count) => {
                    groups.truncate(count);
                    return Ok(groups);
                }
                Told::More(count) => groups.resize(count, 0),
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        Ok(Vec::new())
    }
}

/// What the kernel did with the room that it was given.
#[cfg(target_os = "linux")]
enum Told {
    /// It wrote this many groups.
    All(usize),
    /// There are this many.
    More(usize),
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no crate has this socket option; see docs/decisions/0007-no-unsafe.md")]
fn ask(socket: BorrowedFd<'_>, groups: &mut [u32]) -> io::Result<Told> {
    use std::os::fd::AsRawFd;

    let size = size_of::<libc::gid_t>();
    let too_many = |_| io::Error::from(io::ErrorKind::InvalidData);
    let mut length = libc::socklen_t::try_from(size_of_val(groups)).map_err(too_many)?;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel writes at most `length` bytes, which is
    // the size of `groups`, and any bytes are groups.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let count = usize::try_from(length).map_err(too_many)? / size;
    if done == 0 {
        return Ok(Told::All(count));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => Ok(Told::More(count)),
        error => Err(error),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peers_groups_are_those_of_its_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut told = peer_groups(one.as_fd()).unwrap();
        let mut own: Vec<u32> = rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        told.sort_unstable();
        own.sort_unstable();
        assert_eq!(told, own);
    }

    #[test]
    fn what_is_no_unix_socket_has_none() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_groups(file.as_fd()).is_err());
    }
}
