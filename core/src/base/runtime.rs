//! The process's tokio runtime: one thread, made when first needed. It waits for the database most of the time, and a second one costs
//! more in handing tasks over than it carries (docs/internals/performance.md).
//!
//! Threads do not survive a fork. The child's runtime is a new one in a new slot; the old one is neither used nor dropped (its
//! destructor would wait for threads that are not there). Slots form a list, so that no lock is taken that the fork may have frozen.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle, Runtime};

struct Slot {
    runtime: OnceLock<Runtime>,
    next: OnceLock<Box<Slot>>,
}

impl Slot {
    const fn new() -> Slot {
        Slot { runtime: OnceLock::new(), next: OnceLock::new() }
    }
}

static FIRST: Slot = Slot::new();
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// How many forks lie between this process and the one that first used the library.
pub fn generation() -> usize {
    GENERATION.load(Ordering::Acquire)
}

pub fn handle() -> Handle {
    let mut slot = &FIRST;
    for _ in 0..generation() {
        slot = slot.next.get_or_init(|| Box::new(Slot::new()));
    }
    slot.runtime.get_or_init(start).handle().clone()
}

fn start() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("currant")
        .enable_all()
        .build()
        .expect("threads can be started")
}

/// Makes the library usable in the child of a fork. Call it there before anything else of this library.
pub fn after_fork() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_fork_the_runtime_is_another_and_works() {
        let before = handle().id();
        assert_eq!(handle().id(), before);
        after_fork();
        assert_ne!(handle().id(), before);
        assert_eq!(handle().block_on(async { 7 }), 7);
    }
}
