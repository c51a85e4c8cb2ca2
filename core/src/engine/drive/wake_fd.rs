//! A descriptor that is readable while there is something to pull.
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub struct WakeFd {
    sender: UnixStream,
    receiver: UnixStream,
    readable: AtomicBool,
}

impl WakeFd {
    pub fn new() -> std::io::Result<WakeFd> {
        let (sender, receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(WakeFd { sender, receiver, readable: AtomicBool::new(false) })
    }

    pub fn fileno(&self) -> RawFd {
        self.receiver.as_raw_fd()
    }

    /// Makes the descriptor readable; cheap when it is readable already.
    pub fn wake(&self) {
        if !self.readable.swap(true, Ordering::AcqRel) {
            // The socket's buffer holds at most this one byte, so the write cannot block or fail.
            let _ = (&self.sender).write(&[1]);
        }
    }

    /// Makes the descriptor unreadable. Call it before looking for work, never after: a wake in between is then kept.
    pub fn clear(&self) {
        let mut byte = [0; 8];
        let _ = (&self.receiver).read(&mut byte);
        self.readable.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wakes_make_one_byte_and_a_wake_after_clear_is_kept() {
        let wake_fd = WakeFd::new().unwrap();
        wake_fd.wake();
        wake_fd.wake();
        wake_fd.clear();
        let mut byte = [0; 8];
        assert!((&wake_fd.receiver).read(&mut byte).is_err());
        wake_fd.wake();
        assert_eq!((&wake_fd.receiver).read(&mut byte).unwrap(), 1);
    }
}
