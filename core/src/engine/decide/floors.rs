//! Claim floors: from where on claims read the index of ready executions (rule d). No I/O, no clock.
//!
//! The index entries of what has been claimed stay until a vacuum, and as long as an old snapshot sees them (a dump, a forgotten transaction), and each
//! claim from the start of the index would walk over all of them. What is ready is in the order of the transactions that made it ready. A floor says
//! that nothing is ready that a transaction before it made ready, except those that were open when this was read: a claim looks for what these
//! made ready, too, until they have ended and nothing of theirs is left.
use std::collections::HashMap;

use crate::base::limits::PRIORITIES;
use crate::base::types::{BatchReply, ClaimRequest, Look, Micros, Range, Ranges, Snapshot};

/// A worker that has claimed this many executions of a queue reads where its floors are: each look costs as much as to claim a few.
const LOOK_AFTER: usize = 200;
/// With more transactions open than this a floor stays where it is.
const MOST_OPEN: usize = 100;
/// All floors are forgotten after this time, in case somebody has made executions ready by hand ...
const FORGET_MICROS: Micros = 60_000_000;
/// ... unless a claim from the start takes long: it takes at most one part in this number of the time.
const FROM_START_SHARE: Micros = 50;

#[derive(Clone, Debug, PartialEq)]
struct Floor {
    xid: i64,
    open: Vec<i64>,
}

impl Floor {
    const START: Floor = Floor { xid: -1, open: Vec::new() };

    /// The floor after a look at its ranges.
    fn raised(&self, looks: &[&Look], snapshot: &Snapshot) -> Floor {
        let Some(above) = looks.iter().find(|look| look.from == self.xid) else { return self.clone() };
        // A transaction that is younger than the snapshot may have begun already, and is not among those that are open there.
        let xid = above.first.unwrap_or(i64::MAX).min(snapshot.next).max(self.xid);
        let left = |open: &&i64| {
            let look = looks.iter().find(|look| look.from == **open);
            look.is_none_or(|look| look.first.is_some()) || snapshot.is_open(**open)
        };
        let passed = snapshot.open.iter().filter(|open| (self.xid..xid).contains(*open));
        Floor { xid, open: self.open.iter().filter(left).chain(passed).copied().collect() }
    }

    fn ranges(&self, priority: i16) -> impl Iterator<Item = Range> {
        let range = move |from, to| Range { top: priority, bottom: priority, from, to };
        self.open.iter().map(move |&open| range(open, open)).chain([range(self.xid, i64::MAX)])
    }
}

/// One queue: the floors of its priorities, None where this worker has claimed little.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lane {
    floors: [Option<Floor>; PRIORITIES],
    /// How many executions this worker has claimed since the last look.
    claimed: usize,
}

impl Lane {
    fn ranges(&self, ranges: &mut Vec<Range>) {
        let whole = |top, bottom| Range { top, bottom, from: -1, to: i64::MAX };
        let mut top = PRIORITIES as i16 - 1;
        for priority in (0..PRIORITIES as i16).rev() {
            let Some(floor) = &self.floors[priority as usize] else { continue };
            if top > priority {
                ranges.push(whole(top, priority + 1));
            }
            ranges.extend(floor.ranges(priority));
            top = priority - 1;
        }
        if top >= 0 {
            ranges.push(whole(top, 0));
        }
    }
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Floors {
    lanes: HashMap<String, Lane>,
    /// Whether the last claim took long to find anything.
    slow: bool,
    /// When the floors are to be forgotten; None: there are none.
    forget_at: Option<Micros>,
}

impl Floors {
    /// Where something can be ready in these queues.
    pub fn ranges(&self, queues: &[String]) -> Ranges {
        let mut found = Ranges::default();
        if self.forget_at.is_none() {
            return found;
        }
        let unknown = Lane::default();
        for queue in queues {
            self.lanes.get(queue).unwrap_or(&unknown).ranges(&mut found.ranges);
            found.ends.push(found.ranges.len() as i32);
        }
        found
    }

    /// Whether the next claim from these queues is to look how far the floors can be raised.
    pub fn wants_look(&self, queues: &[String]) -> bool {
        let looks = |queue| self.lanes.get(queue).is_some_and(|lane| self.slow || lane.claimed >= LOOK_AFTER);
        queues.iter().any(looks)
    }

    /// A claim is to be made: floors that are too old are forgotten before.
    pub fn forget_old(&mut self, now: Micros) {
        if self.forget_at.is_some_and(|at| at <= now) {
            self.forget();
        }
    }

    /// A claim was answered.
    pub fn claimed(&mut self, request: &ClaimRequest, reply: &BatchReply, now: Micros) {
        if let Some(snapshot) = &reply.snapshot {
            self.raise(&reply.looks, snapshot);
        }
        if let Some(micros) = reply.slow {
            let at = now + FORGET_MICROS.max(FROM_START_SHARE * micros);
            self.forget_at = Some(self.forget_at.map_or(at, |before| before.max(at)));
        }
        self.slow = reply.slow.is_some();
        for claimed in reply.claimed.iter().filter(|claimed| !claimed.poison_suspect) {
            if !self.lanes.contains_key(&claimed.queue) {
                self.lanes.insert(claimed.queue.clone(), Lane::default());
            }
            let Some(lane) = self.lanes.get_mut(&claimed.queue) else { continue };
            lane.claimed += 1;
            if self.slow || lane.claimed >= LOOK_AFTER {
                lane.floors[claimed.priority as usize].get_or_insert(Floor::START);
                self.forget_at.get_or_insert(now + FORGET_MICROS);
            }
        }
        // It walked over entries of which it claimed nothing: at which priority is not known.
        if self.slow && reply.claimed.len() < request.limit as usize {
            for queue in &request.queues {
                let lane = self.lanes.entry(queue.clone()).or_default();
                for floor in &mut lane.floors {
                    floor.get_or_insert(Floor::START);
                }
            }
        }
    }

    fn raise(&mut self, looks: &[Look], snapshot: &Snapshot) {
        if snapshot.open.len() > MOST_OPEN {
            return;
        }
        let mut seen: HashMap<(&str, i16), Vec<&Look>> = HashMap::new();
        for look in looks {
            seen.entry((&look.queue, look.priority)).or_default().push(look);
        }
        for ((queue, priority), looks) in seen {
            let Some(lane) = self.lanes.get_mut(queue) else { continue };
            lane.claimed = 0;
            if let Some(floor) = &mut lane.floors[priority as usize] {
                *floor = floor.raised(&looks, snapshot);
            }
        }
    }

    /// The connection was lost: transactions of another server may be numbered anew.
    pub fn forget(&mut self) {
        *self = Floors::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::{Claimed, Kind};
    use crate::engine::decide::fixtures::claimed;

    const QUEUE: &str = "q";

    fn request() -> ClaimRequest {
        ClaimRequest { queues: vec![QUEUE.to_string()], limit: 1_000, ..ClaimRequest::default() }
    }

    /// Floors after a claim of so many of this priority.
    fn after(number: usize, priority: i16) -> Floors {
        let mut floors = Floors::default();
        let one = Claimed { priority, queue: QUEUE.into(), ..claimed(Kind::Task) };
        floors.claimed(&request(), &BatchReply { claimed: vec![one; number], ..BatchReply::default() }, 0);
        floors
    }

    fn ranges(floors: &Floors) -> Vec<(i16, i16, i64, i64)> {
        let found = floors.ranges(&request().queues);
        found.ranges.iter().map(|range| (range.top, range.bottom, range.from, range.to)).collect()
    }

    fn look(floors: &mut Floors, found: &[(i64, Option<i64>)], next: i64, open: &[i64]) {
        let look = |&(from, first)| Look { queue: QUEUE.into(), priority: 5, from, first };
        let snapshot = Some(Snapshot { next, open: open.to_vec() });
        let reply = BatchReply { looks: found.iter().map(look).collect(), snapshot, ..BatchReply::default() };
        floors.claimed(&request(), &reply, 0);
    }

    const END: i64 = i64::MAX;

    #[test]
    fn a_worker_that_claims_little_reads_all() {
        let floors = after(LOOK_AFTER - 1, 5);
        assert_eq!(ranges(&floors), []);
        assert!(!floors.wants_look(&request().queues));
    }

    #[test]
    fn one_that_has_claimed_many_looks_and_then_reads_from_what_it_saw() {
        let mut floors = after(LOOK_AFTER, 5);
        assert!(floors.wants_look(&request().queues));
        assert_eq!(ranges(&floors), [(10, 6, -1, END), (5, 5, -1, END), (4, 0, -1, END)]);
        let two = floors.ranges(&["other".to_string(), QUEUE.to_string()]);
        assert_eq!((two.ends, two.ranges[0]), (vec![1, 4], Range { top: 10, bottom: 0, from: -1, to: END }));
        look(&mut floors, &[(-1, Some(30))], 50, &[20, 40]);
        assert!(!floors.wants_look(&request().queues));
        // 40 is not passed yet.
        assert_eq!(ranges(&floors), [(10, 6, -1, END), (5, 5, 20, 20), (5, 5, 30, END), (4, 0, -1, END)]);
    }

    #[test]
    fn a_floor_is_not_above_what_the_snapshot_knows() {
        let mut floors = after(LOOK_AFTER, 5);
        // Made ready by the claim's own transaction, which is younger than others that its snapshot does not know.
        look(&mut floors, &[(-1, Some(70))], 60, &[]);
        assert_eq!(ranges(&floors)[1], (5, 5, 60, END));
        look(&mut floors, &[(60, None)], 80, &[]);
        assert_eq!(ranges(&floors)[1], (5, 5, 80, END));
    }

    #[test]
    fn what_was_open_is_read_until_it_has_ended_and_nothing_of_it_is_left() {
        let mut floors = after(LOOK_AFTER, 5);
        look(&mut floors, &[(-1, None)], 50, &[20, 40]);
        assert_eq!(ranges(&floors)[1..4], [(5, 5, 20, 20), (5, 5, 40, 40), (5, 5, 50, END)]);
        look(&mut floors, &[(20, Some(20)), (40, None), (50, None)], 60, &[40]);
        assert_eq!(ranges(&floors)[1..4], [(5, 5, 20, 20), (5, 5, 40, 40), (5, 5, 60, END)]);
        look(&mut floors, &[(20, None), (40, None), (60, None)], 60, &[]);
        assert_eq!(ranges(&floors)[1], (5, 5, 60, END));
    }

    #[test]
    fn with_too_many_open_it_stays_and_where_nobody_has_looked() {
        let mut floors = after(LOOK_AFTER, 5);
        let open: Vec<i64> = (0..=MOST_OPEN as i64).collect();
        look(&mut floors, &[(-1, None)], 500, &open);
        assert_eq!(ranges(&floors)[1], (5, 5, -1, END));
        look(&mut floors, &[(20, None)], 500, &[]);
        assert_eq!(ranges(&floors)[1], (5, 5, -1, END));
    }

    #[test]
    fn a_slow_claim_looks_at_once_and_one_that_found_too_little_at_every_priority() {
        let mut floors = Floors::default();
        let slow = BatchReply { slow: Some(10_000), ..BatchReply::default() };
        floors.claimed(&request(), &slow, 0);
        assert!(floors.wants_look(&request().queues));
        assert_eq!(ranges(&floors).len(), PRIORITIES);
    }

    #[test]
    fn floors_are_forgotten_after_a_while_the_later_the_longer_it_takes_without() {
        let mut floors = after(LOOK_AFTER, 5);
        floors.forget_old(FORGET_MICROS - 1);
        assert!(floors.wants_look(&request().queues));
        let slow = BatchReply { slow: Some(FORGET_MICROS), ..BatchReply::default() };
        floors.claimed(&request(), &slow, 0);
        floors.forget_old(FROM_START_SHARE * FORGET_MICROS - 1);
        assert!(floors.wants_look(&request().queues));
        floors.forget_old(FROM_START_SHARE * FORGET_MICROS);
        assert_eq!(floors.ranges(&request().queues), Ranges::default());
    }
}
