//! Ids. Version 7 by shape, so that "oldest first" is the order of ids, in one index.
use uuid::Uuid;

pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// The id of what `run` starts under step `key`: the same at every try, so that a repeated insert changes nothing.
///
/// The id has the run's own time stamp: the steps of an old run come before the runs that were enqueued after it. Next is the step's
/// position, so that the steps of a fan-out start in their order, then 62 bits of the version 5 (SHA-1) hash of (run, key).
pub fn derive_id(run: Uuid, key: &str) -> Uuid {
    let mut bytes = *Uuid::new_v5(&run, key.as_bytes()).as_bytes();
    let position = key.rsplit('/').next().and_then(|last| last.rsplit(':').next()?.parse::<u64>().ok());
    let position = position.unwrap_or(0).min(0xfff) as u16;
    bytes[..6].copy_from_slice(&run.as_bytes()[..6]);
    bytes[6..8].copy_from_slice(&(0x7000 | position).to_be_bytes());
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_is_stable_distinct_and_sorts_by_run_then_position() {
        let (older, newer) = (Uuid::from_u128(1 << 80 | 7 << 76), Uuid::from_u128(2 << 80 | 7 << 76));
        assert_eq!(derive_id(older, "0/1"), derive_id(older, "0/1"));
        assert_ne!(derive_id(older, "0/1"), derive_id(older, "1/1"));
        assert!(derive_id(older, "0:2") < derive_id(older, "0:10"));
        assert!(derive_id(older, "0:1.0/4000") < derive_id(newer, "0:0"));
        assert_eq!(derive_id(older, "x").get_version_num(), 7);
    }
}
