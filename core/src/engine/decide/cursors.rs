//! Claim cursors: how far claims have read the index of ready executions (rule d). No I/O, no clock.
//!
//! While an old snapshot is open somewhere, a dump or a forgotten transaction, nobody may remove the index entries of what has been
//! claimed, and each claim from the start of the index would walk over all of them. A cursor says where to go on instead. Ready rows are
//! in the order of the transactions that made them ready, and these commit in another order than they start: what was open when a
//! cursor passed is read again each time, until it has ended.
use std::collections::HashMap;

use uuid::Uuid;

use crate::base::limits::PRIORITIES;
use crate::base::types::{ClaimCursors, ClaimRequest, Claimed, Micros, Snapshot};

/// The longest time between two claims without cursors, which also find what others had locked meanwhile ...
const FROM_START_MICROS: Micros = 1_000_000;
/// ... unless it takes long: it takes at most one part in this number of the time.
const FROM_START_SHARE: Micros = 50;
/// With more transactions open than this a cursor stays where it is.
const MOST_OPEN: usize = 100;

/// Executions that were made ready by transactions before `xid`, or by `xid` itself with an id up to `id`, have been seen; those made ready
/// by the transactions in `open` have not.
#[derive(Clone, Debug, PartialEq)]
struct Cursor {
    xid: i64,
    id: Uuid,
    open: Vec<i64>,
}

impl Cursor {
    const START: Cursor = Cursor { xid: -1, id: Uuid::nil(), open: Vec::new() };
    const STARTS: &[Cursor; PRIORITIES] = &[const { Cursor::START }; PRIORITIES];

    /// A cursor behind everything that the snapshot sees.
    fn all_of(snapshot: &Snapshot) -> Cursor {
        Cursor { xid: snapshot.next - 1, id: Uuid::max(), open: snapshot.open.clone() }
    }

    /// The cursor after a full claim whose last execution is `last`.
    fn moved_to(&self, last: &Claimed, snapshot: &Snapshot) -> Cursor {
        if (last.ready_xid, last.id) <= (self.xid, self.id) {
            return self.clone(); // the claim was full before it had read all transactions that had been open
        }
        if last.ready_xid >= snapshot.next {
            return Cursor::all_of(snapshot);
        }
        let open = snapshot.open.iter().copied().filter(|xid| *xid < last.ready_xid).collect();
        Cursor { xid: last.ready_xid, id: last.id, open }
    }
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Cursors {
    /// The cursors of each queue, by priority.
    lanes: HashMap<String, [Cursor; PRIORITIES]>,
    /// When the next claim without cursors is to be made, by the server's clock, or None while no claim is slow and all are made without.
    whole_due: Option<Micros>,
    /// Whether the last claim without cursors was slow, and may have been so only once: Postgres made its plans, or found the entries dead that
    /// cursors had passed over, and has removed them.
    slow_before: bool,
}

impl Cursors {
    /// Whether the next claim is to avoid reading from the start.
    pub fn in_use(&self, now: Micros) -> bool {
        self.whole_due.is_some_and(|due| now < due)
    }

    /// The cursors for the next claim, if it should have any.
    pub fn for_claim(&self, queues: &[String], now: Micros) -> Option<ClaimCursors> {
        if !self.in_use(now) {
            return None;
        }
        let mut cursors = ClaimCursors::default();
        for queue in queues {
            let lane = self.lanes.get(queue).unwrap_or(Cursor::STARTS);
            for cursor in lane {
                let place = cursors.xids.len() as i32;
                cursors.open.extend(cursor.open.iter().map(|xid| (place, *xid)));
                cursors.xids.push(cursor.xid);
                cursors.ids.push(cursor.id);
            }
        }
        Some(cursors)
    }

    /// A claim without cursors was answered; `slow`: how long it took to find what it claimed, if that was long. After two in a row there
    /// are cursors.
    pub fn claimed_from_start(&mut self, slow: Option<Micros>, now: Micros) {
        match slow {
            Some(_) if !self.slow_before => (self.slow_before, self.whole_due) = (true, None),
            Some(micros) => {
                (self.slow_before, self.whole_due) =
                    (false, Some(now + FROM_START_MICROS.max(FROM_START_SHARE * micros)));
            }
            None => *self = Cursors::default(),
        }
    }

    /// A claim with cursors was answered. `snapshot` was taken before it.
    pub fn claimed(&mut self, request: &ClaimRequest, claimed: &[Claimed], snapshot: &Snapshot) {
        if snapshot.open.len() > MOST_OPEN {
            return;
        }
        let there = |claimed: &&Claimed| !claimed.poison_suspect; // the others have an index of their own
        let all = claimed.iter().filter(there).count() < request.limit as usize;
        for queue in &request.queues {
            let order = |claimed: &&Claimed| (-claimed.priority, claimed.ready_xid, claimed.id);
            let last = claimed.iter().filter(there).filter(|claimed| claimed.queue == *queue).max_by_key(order);
            let lane = self.lanes.entry(queue.clone()).or_insert_with(|| Cursor::STARTS.clone());
            for (priority, cursor) in lane.iter_mut().enumerate() {
                let order = last.map(|last| (last.priority as usize).cmp(&priority));
                match order {
                    _ if all => *cursor = Cursor::all_of(snapshot),
                    Some(std::cmp::Ordering::Less) => *cursor = Cursor::all_of(snapshot),
                    Some(std::cmp::Ordering::Equal) => {
                        *cursor = last.map_or(Cursor::START, |last| cursor.moved_to(last, snapshot))
                    }
                    _ => {}
                }
            }
        }
    }

    /// The connection was lost: transactions of another server may be numbered anew, and claims may have been answered to nobody.
    pub fn forget(&mut self) {
        *self = Cursors::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::Kind;
    use crate::engine::decide::fixtures::claimed;

    fn ready(priority: i16, ready_xid: i64) -> Claimed {
        Claimed { priority, ready_xid, ..claimed(Kind::Task) }
    }

    fn in_use() -> Cursors {
        let mut cursors = Cursors::default();
        cursors.claimed_from_start(Some(10), 0);
        cursors.claimed_from_start(Some(10), 0);
        cursors
    }

    /// The cursors after a claim of `limit` from the queue of `claimed` that saw `snapshot`.
    fn after(cursors: &mut Cursors, limit: i32, claimed: &[Claimed], snapshot: &Snapshot) -> ClaimCursors {
        let queues = vec!["q".to_string()];
        let request = ClaimRequest { queues: queues.clone(), limit, ..ClaimRequest::default() };
        cursors.claimed(&request, claimed, snapshot);
        cursors.for_claim(&queues, 0).unwrap()
    }

    #[test]
    fn they_are_for_when_two_claims_were_slow_and_claims_from_the_start_take_little_of_the_time() {
        let mut cursors = Cursors::default();
        cursors.claimed_from_start(None, 0);
        assert_eq!(cursors.for_claim(&["q".to_string()], 0), None);
        cursors.claimed_from_start(Some(10_000), 0);
        assert!(!cursors.in_use(0), "once may be the price of making plans");
        cursors.claimed_from_start(None, 0);
        cursors.claimed_from_start(Some(10_000), 0);
        assert!(!cursors.in_use(0), "the one before was not slow");
        cursors.claimed_from_start(Some(10_000), 0);
        assert!(cursors.in_use(999_999) && !cursors.in_use(1_000_000), "a second");
        cursors.claimed_from_start(Some(100_000), 0);
        assert!(!cursors.in_use(0), "what cursors had passed over may have gone by now");
        cursors.claimed_from_start(Some(100_000), 0);
        assert!(cursors.in_use(4_999_999) && !cursors.in_use(5_000_000), "a fiftieth");
        cursors.claimed_from_start(None, 0);
        assert!(!cursors.in_use(0));
    }

    #[test]
    fn after_a_claim_that_took_all_they_are_where_it_looked_but_for_what_was_open() {
        let mut cursors = in_use();
        let found = after(&mut cursors, 5, &[ready(5, 30)], &Snapshot { next: 50, open: vec![20, 40] });
        assert_eq!(found.xids, vec![49; PRIORITIES]);
        assert_eq!(found.open.len(), 2 * PRIORITIES);
        assert!(found.open.contains(&(5, 20)) && found.open.contains(&(9, 40)));
        let found = after(&mut cursors, 5, &[], &Snapshot { next: 60, open: vec![40] });
        assert_eq!((found.xids[0], found.open.len()), (59, PRIORITIES), "what has ended was looked at");
    }

    #[test]
    fn after_a_full_claim_they_are_at_its_last_of_that_priority_and_where_they_were_below() {
        let mut cursors = in_use();
        let claimed = [ready(7, 45), ready(5, 10), ready(5, 30)];
        let found = after(&mut cursors, 3, &claimed, &Snapshot { next: 50, open: vec![20, 40] });
        assert_eq!((found.xids[10], found.xids[7], found.xids[6]), (49, 49, 49));
        assert_eq!((found.xids[5], found.ids[5]), (30, claimed[2].id));
        assert_eq!((found.xids[4], found.xids[0]), (-1, -1));
        let of_five: Vec<i64> = found.open.iter().filter(|(place, _)| *place == 5).map(|(_, xid)| *xid).collect();
        assert_eq!(of_five, vec![20], "40 is beyond the cursor");
    }

    #[test]
    fn a_claim_that_is_full_with_what_had_been_open_moves_nothing() {
        let mut cursors = in_use();
        let before = after(&mut cursors, 2, &[ready(5, 30)], &Snapshot { next: 50, open: vec![20] });
        let found = after(&mut cursors, 1, &[ready(5, 20)], &Snapshot { next: 70, open: vec![] });
        assert_eq!(found.xids[5], before.xids[5]);
        assert!(found.open.contains(&(5, 20)), "there may be more of it");
    }

    #[test]
    fn they_do_not_go_beyond_what_the_snapshot_saw() {
        let mut cursors = in_use();
        let found = after(&mut cursors, 1, &[ready(5, 60)], &Snapshot { next: 50, open: vec![20] });
        assert_eq!(found.xids[5], 49, "55 may not be committed yet");
    }

    #[test]
    fn with_very_many_transactions_open_they_stay() {
        let mut cursors = in_use();
        let found = after(&mut cursors, 5, &[], &Snapshot { next: 500, open: (0..200).collect() });
        assert_eq!(found.xids[5], -1);
    }
}
