//! How far claims have looked (rule d). No I/O, no clock.
//!
//! While an old snapshot is open somewhere, a dump or a forgotten transaction, nobody may remove the index entries of what has been
//! claimed, and each claim from the start of the index would walk over all of them. A mark says where to go on instead. Ready rows are
//! in the order of the transactions that made them ready, and these commit in another order than they start: what was open when a
//! mark passed is looked at again each time, until it has ended.
use std::collections::HashMap;

use uuid::Uuid;

use crate::base::limits::PRIORITIES;
use crate::base::types::{ClaimMarks, ClaimRequest, Claimed, Micros, Snapshot};

/// A claim without marks, which also finds what others had locked meanwhile, comes at least so often ...
const LOOK_MICROS: Micros = 1_000_000;
/// ... unless it takes long: then it may take one part in so many of the time.
const LOOK_SHARE: Micros = 50;
/// With more transactions open than this a mark stays where it is.
const MOST_OPEN: usize = 100;

/// Whatever was made ready by transactions before `xid`, or by it with an id up to `id`, was seen, but for what is `open`.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    xid: i64,
    id: Uuid,
    open: Vec<i64>,
}

impl Mark {
    const START: Mark = Mark { xid: -1, id: Uuid::nil(), open: Vec::new() };
    const STARTS: &[Mark; PRIORITIES] = &[const { Mark::START }; PRIORITIES];

    /// Everything that was committed by then.
    fn all_of(snapshot: &Snapshot) -> Mark {
        Mark { xid: snapshot.next - 1, id: Uuid::max(), open: snapshot.open.clone() }
    }

    /// After a claim that went as far as `last` and had more before it.
    fn moved_to(&self, last: &Claimed, snapshot: &Snapshot) -> Mark {
        if (last.ready_xid, last.id) <= (self.xid, self.id) {
            return self.clone(); // it was full before it had looked at all that had been open
        }
        if last.ready_xid >= snapshot.next {
            return Mark::all_of(snapshot);
        }
        let open = snapshot.open.iter().copied().filter(|xid| *xid < last.ready_xid).collect();
        Mark { xid: last.ready_xid, id: last.id, open }
    }
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Marks {
    /// Of each queue, by priority.
    lanes: HashMap<String, [Mark; PRIORITIES]>,
    /// The next claim without marks, on the server's clock; None: none is slow, all are without.
    whole_due: Option<Micros>,
    /// The last claim without marks was slow, and that may have been the price of once: plans were made, or entries of what marks
    /// had passed over were found dead and are removed now.
    slow_before: bool,
}

impl Marks {
    /// Whether a look from the start is to be avoided now.
    pub fn in_use(&self, now: Micros) -> bool {
        self.whole_due.is_some_and(|due| now < due)
    }

    /// For the next claim, if it should have any.
    pub fn of(&self, queues: &[String], now: Micros) -> Option<ClaimMarks> {
        if !self.in_use(now) {
            return None;
        }
        let mut marks = ClaimMarks::default();
        for queue in queues {
            let lane = self.lanes.get(queue).unwrap_or(Mark::STARTS);
            for mark in lane {
                let place = marks.xids.len() as i32;
                marks.open.extend(mark.open.iter().map(|xid| (place, *xid)));
                marks.xids.push(mark.xid);
                marks.ids.push(mark.id);
            }
        }
        Some(marks)
    }

    /// A claim without marks was answered; `slow`: how long it took to find what it claimed, if that was long. After two in a row there
    /// are marks.
    pub fn looked_everywhere(&mut self, slow: Option<Micros>, now: Micros) {
        match slow {
            Some(_) if !self.slow_before => (self.slow_before, self.whole_due) = (true, None),
            Some(micros) => {
                (self.slow_before, self.whole_due) = (false, Some(now + LOOK_MICROS.max(LOOK_SHARE * micros)));
            }
            None => *self = Marks::default(),
        }
    }

    /// A claim with marks was answered. `snapshot` was taken before it.
    pub fn looked(&mut self, request: &ClaimRequest, claimed: &[Claimed], snapshot: &Snapshot) {
        if snapshot.open.len() > MOST_OPEN {
            return;
        }
        let there = |claimed: &&Claimed| !claimed.isolated; // the others have an index of their own
        let all = claimed.iter().filter(there).count() < request.limit as usize;
        for queue in &request.queues {
            let order = |claimed: &&Claimed| (-claimed.priority, claimed.ready_xid, claimed.id);
            let last = claimed.iter().filter(there).filter(|claimed| claimed.queue == *queue).max_by_key(order);
            let lane = self.lanes.entry(queue.clone()).or_insert_with(|| Mark::STARTS.clone());
            for (priority, mark) in lane.iter_mut().enumerate() {
                let order = last.map(|last| (last.priority as usize).cmp(&priority));
                match order {
                    _ if all => *mark = Mark::all_of(snapshot),
                    Some(std::cmp::Ordering::Less) => *mark = Mark::all_of(snapshot),
                    Some(std::cmp::Ordering::Equal) => {
                        *mark = last.map_or(Mark::START, |last| mark.moved_to(last, snapshot))
                    }
                    _ => {}
                }
            }
        }
    }

    /// The connection was lost: transactions of another server may be numbered anew, and claims may have been answered to nobody.
    pub fn forget(&mut self) {
        *self = Marks::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::Kind;
    use crate::engine::decide::tests::claimed;

    fn ready(priority: i16, ready_xid: i64) -> Claimed {
        Claimed { priority, ready_xid, ..claimed(Kind::Task) }
    }

    fn in_use() -> Marks {
        let mut marks = Marks::default();
        marks.looked_everywhere(Some(10), 0);
        marks.looked_everywhere(Some(10), 0);
        marks
    }

    /// The marks after a claim of `limit` from the queue of `claimed` that saw `snapshot`.
    fn after(marks: &mut Marks, limit: i32, claimed: &[Claimed], snapshot: &Snapshot) -> ClaimMarks {
        let queues = vec!["q".to_string()];
        let request = ClaimRequest { queues: queues.clone(), limit, ..ClaimRequest::default() };
        marks.looked(&request, claimed, snapshot);
        marks.of(&queues, 0).unwrap()
    }

    #[test]
    fn they_are_for_when_two_claims_were_slow_and_claims_from_the_start_take_little_of_the_time() {
        let mut marks = Marks::default();
        marks.looked_everywhere(None, 0);
        assert_eq!(marks.of(&["q".to_string()], 0), None);
        marks.looked_everywhere(Some(10_000), 0);
        assert!(!marks.in_use(0), "once may be the price of making plans");
        marks.looked_everywhere(None, 0);
        marks.looked_everywhere(Some(10_000), 0);
        assert!(!marks.in_use(0), "the one before was not slow");
        marks.looked_everywhere(Some(10_000), 0);
        assert!(marks.in_use(999_999) && !marks.in_use(1_000_000), "a second");
        marks.looked_everywhere(Some(100_000), 0);
        assert!(!marks.in_use(0), "what marks had passed over may have gone by now");
        marks.looked_everywhere(Some(100_000), 0);
        assert!(marks.in_use(4_999_999) && !marks.in_use(5_000_000), "a fiftieth");
        marks.looked_everywhere(None, 0);
        assert!(!marks.in_use(0));
    }

    #[test]
    fn after_a_claim_that_took_all_they_are_where_it_looked_but_for_what_was_open() {
        let mut marks = in_use();
        let found = after(&mut marks, 5, &[ready(5, 30)], &Snapshot { next: 50, open: vec![20, 40] });
        assert_eq!(found.xids, vec![49; PRIORITIES]);
        assert_eq!(found.open.len(), 2 * PRIORITIES);
        assert!(found.open.contains(&(5, 20)) && found.open.contains(&(9, 40)));
        let found = after(&mut marks, 5, &[], &Snapshot { next: 60, open: vec![40] });
        assert_eq!((found.xids[0], found.open.len()), (59, PRIORITIES), "what has ended was looked at");
    }

    #[test]
    fn after_a_full_claim_they_are_at_its_last_of_that_priority_and_where_they_were_below() {
        let mut marks = in_use();
        let claimed = [ready(7, 45), ready(5, 10), ready(5, 30)];
        let found = after(&mut marks, 3, &claimed, &Snapshot { next: 50, open: vec![20, 40] });
        assert_eq!((found.xids[10], found.xids[7], found.xids[6]), (49, 49, 49));
        assert_eq!((found.xids[5], found.ids[5]), (30, claimed[2].id));
        assert_eq!((found.xids[4], found.xids[0]), (-1, -1));
        let of_five: Vec<i64> = found.open.iter().filter(|(place, _)| *place == 5).map(|(_, xid)| *xid).collect();
        assert_eq!(of_five, vec![20], "40 is beyond the mark");
    }

    #[test]
    fn a_claim_that_is_full_with_what_had_been_open_moves_nothing() {
        let mut marks = in_use();
        let before = after(&mut marks, 2, &[ready(5, 30)], &Snapshot { next: 50, open: vec![20] });
        let found = after(&mut marks, 1, &[ready(5, 20)], &Snapshot { next: 70, open: vec![] });
        assert_eq!(found.xids[5], before.xids[5]);
        assert!(found.open.contains(&(5, 20)), "there may be more of it");
    }

    #[test]
    fn they_do_not_go_beyond_what_the_snapshot_saw() {
        let mut marks = in_use();
        let found = after(&mut marks, 1, &[ready(5, 60)], &Snapshot { next: 50, open: vec![20] });
        assert_eq!(found.xids[5], 49, "55 may not be committed yet");
    }

    #[test]
    fn with_very_many_transactions_open_they_stay() {
        let mut marks = in_use();
        let found = after(&mut marks, 5, &[], &Snapshot { next: 500, open: (0..200).collect() });
        assert_eq!(found.xids[5], -1);
    }
}
