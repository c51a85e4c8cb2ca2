//! A descriptor that is readable while there is something to pull.
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub struct Bell {
    rope: UnixStream,
    ear: UnixStream,
    rung: AtomicBool,
}

impl Bell {
    pub fn new() -> std::io::Result<Bell> {
        let (rope, ear) = UnixStream::pair()?;
        rope.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Bell { rope, ear, rung: AtomicBool::new(false) })
    }

    pub fn fileno(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    /// Makes the descriptor readable; cheap when it is already.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The socket's buffer holds at most this one byte, so the write cannot block or fail.
            let _ = (&self.rope).write(&[1]);
        }
    }

    /// Call before looking, never after: a ring in between is then kept.
    pub fn hush(&self) {
        let mut byte = [0; 8];
        let _ = (&self.ear).read(&mut byte);
        self.rung.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rings_make_one_byte_and_a_ring_after_hush_is_kept() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();
        bell.hush();
        let mut byte = [0; 8];
        assert!((&bell.ear).read(&mut byte).is_err());
        bell.ring();
        assert_eq!((&bell.ear).read(&mut byte).unwrap(), 1);
    }
}
