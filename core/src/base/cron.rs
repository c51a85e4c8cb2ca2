//! When a schedule fires: from a cron expression, a time zone and the clock to what is to be started now. Pure: time is an argument.
//!
//! The expression is croner's: five fields, or six with seconds in front. It is read on the wall clock of the zone. Where that clock
//! jumps, croner follows Vixie cron: a schedule at one time of day (`30 2 * * *`) fires once on such a day, too (a time that the
//! clock skips: at the end of the gap; one that comes twice: the first time), one that repeats (`*/30 * * * *`) goes by what passes:
//! it has no fire times in a gap, and its fire times of the repeated hour twice.
use std::collections::VecDeque;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::types::Micros;

const SECOND: Micros = 1_000_000;
/// The largest number of runs that are started at a time. After a long outage a schedule may have many fire times: the newest get the runs.
pub const MAX_FIRES: usize = 100;
/// Names that stand for an expression, as crontab(5) has them; the schema of Workflows (`crds/workflows.yaml`) takes the same.
const MACROS: [&str; 6] = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"];
/// The age in seconds up to which a fire time is in time; an older one was missed.
const IN_TIME: f64 = 60.0;

/// The rule for a fire time that comes while an earlier run of the schedule has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    Allow,
    /// The fire time is skipped.
    #[default]
    Forbid,
    /// The earlier run is cancelled.
    Replace,
}

/// The rule for fire times that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatchUp {
    /// Missed fire times get no run.
    None,
    /// The newest one gets a run, unless a fire time that is in time gets one anyway.
    #[default]
    Last,
    All,
}

impl Overlap {
    pub fn parse(text: &str) -> Option<Overlap> {
        [Overlap::Allow, Overlap::Forbid, Overlap::Replace].into_iter().find(|known| known.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Overlap::Allow => "Allow",
            Overlap::Forbid => "Forbid",
            Overlap::Replace => "Replace",
        }
    }
}

impl CatchUp {
    pub fn parse(text: &str) -> Option<CatchUp> {
        [CatchUp::None, CatchUp::Last, CatchUp::All].into_iter().find(|known| known.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            CatchUp::None => "None",
            CatchUp::Last => "Last",
            CatchUp::All => "All",
        }
    }
}

/// The fire times of a schedule.
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
}

impl Timetable {
    /// Refuses an expression or a zone that is wrong, with one line that says what to write.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Timetable, String> {
        if cron.contains('@') && !MACROS.contains(&cron) {
            return Err(format!(
                "cron {cron:?} cannot be read: write one of {}, or five fields such as \"0 3 * * *\"; there is no @reboot",
                MACROS.join(", ")
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.trim_end_matches('.');
            format!("cron {cron:?} cannot be read ({reason}): write minute, hour, day of month, month and day of week, such as \"0 3 * * *\"")
        })?;
        let zone = time_zone.parse().map_err(|_| {
            format!(
                "there is no time zone {time_zone:?}: write a name of the IANA database, such as Europe/Berlin or UTC"
            )
        })?;
        Ok(Timetable { cron, zone })
    }

    /// The first fire time after this moment, or None if no time follows.
    pub fn next(&self, after: Micros) -> Option<Micros> {
        let start = DateTime::from_timestamp(after.div_euclid(SECOND), 0)?.with_timezone(&self.zone);
        self.cron.find_next_occurrence(&start, false).ok().map(|found| found.timestamp() * SECOND)
    }

    /// The newest fire times from `first` to `last`, both included, oldest first; at most `limit`, and whether there are more.
    /// Searches back over ever longer spans, so that a schedule of every second and an outage of a year cost no more than others.
    fn newest(&self, first: Micros, last: Micros, limit: usize) -> (Vec<Micros>, bool) {
        let mut span = 64 * SECOND;
        loop {
            let start = first.max(last.saturating_sub(span));
            let mut found = VecDeque::new();
            // After the moment before, because croner does not know the end of a gap for a fire time when it begins there.
            let mut next = self.next(start - 1);
            while let Some(time) = next.filter(|time| *time <= last) {
                found.push_back(time);
                if found.len() > limit + 1 {
                    found.pop_front();
                }
                next = self.next(time);
            }
            if start == first || found.len() > limit {
                let more = found.len() > limit;
                return (found.into_iter().skip(usize::from(more)).collect(), more);
            }
            span = span.saturating_mul(2);
        }
    }
}

/// A schedule as the decision needs it. Durations in seconds.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub id: Uuid,
    pub timetable: Timetable,
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    /// No run is started for a fire time that is older than this number of seconds. None: 60 seconds without catch-up, else any age.
    pub starting_deadline: Option<f64>,
    pub jitter: f64,
    /// The oldest fire time that nothing was decided about.
    pub next_fire_at: Micros,
    /// Whether an earlier run of the schedule has not ended.
    pub busy: bool,
}

/// A run to be started for `fire_time`. `run_at`: the time before which it does not start, because of the jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fire {
    pub fire_time: Micros,
    pub run_at: Option<Micros>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The runs to start, oldest first.
    pub fires: Vec<Fire>,
    /// Whether to cancel the earlier runs first.
    pub replace: bool,
    pub next_fire_at: Option<Micros>,
    /// The fate of the fire times up to now, in words, or None if there were no fire times.
    pub outcome: Option<String>,
    /// Fire times that started no run because they were too old, or because only the last is caught up. Runs that must not overlap are
    /// left out on purpose and are not among them.
    pub missed: usize,
}

/// Decides on all fire times up to `now`, by the server's clock. Each is decided once: the next decision begins after `now`.
pub fn decide(schedule: &Schedule, now: Micros) -> Decision {
    let next_fire_at = schedule.timetable.next(now);
    let (due, more) = schedule.timetable.newest(schedule.next_fire_at, now, MAX_FIRES);
    let limit = age_limit(schedule);
    let younger = |age: f64| due.iter().filter(|time| (now - **time) as f64 <= age * 1e6).count();
    let kept = younger(limit);
    let wanted = match schedule.catch_up {
        CatchUp::None | CatchUp::All => kept,
        CatchUp::Last => younger(limit.min(IN_TIME)).max(kept.min(1)),
    };
    // If runs must not overlap, only one of several fire times that are due at once can get a run: the newest.
    let (started, replace) = match schedule.overlap {
        Overlap::Allow => (wanted, false),
        Overlap::Forbid if schedule.busy => (0, false),
        Overlap::Forbid => (wanted.min(1), false),
        Overlap::Replace => (wanted.min(1), wanted > 0 && schedule.busy),
    };
    let fires: Vec<Fire> = due[due.len() - started..].iter().map(|time| fire(schedule, *time, now)).collect();
    let counts =
        Counts { started, skipped: wanted - started, superseded: kept - wanted, missed: due.len() - kept, more };
    let outcome = counts.outcome(schedule);
    Decision { fires, replace, next_fire_at, outcome, missed: due.len() - wanted }
}

fn age_limit(schedule: &Schedule) -> f64 {
    let without = if schedule.catch_up == CatchUp::None { IN_TIME } else { f64::INFINITY };
    schedule.starting_deadline.unwrap_or(without)
}

fn fire(schedule: &Schedule, fire_time: Micros, now: Micros) -> Fire {
    let run_at = fire_time + (spread(schedule.id, fire_time) * schedule.jitter * 1e6) as Micros;
    Fire { fire_time, run_at: Some(run_at).filter(|at| *at > now) }
}

/// A number in 0..1, evenly distributed, that depends only on the schedule and the fire time.
fn spread(id: Uuid, fire_time: Micros) -> f64 {
    let hash = Md5::new().chain_update(id.as_bytes()).chain_update(fire_time.to_be_bytes()).finalize();
    let bits = hash.iter().take(4).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// The number of fire times by what became of them.
struct Counts {
    started: usize,
    skipped: usize,
    superseded: usize,
    missed: usize,
    /// Whether there are older fire times, too, that were not examined.
    more: bool,
}

impl Counts {
    fn outcome(&self, schedule: &Schedule) -> Option<String> {
        let mut parts = Vec::new();
        match self.started {
            0 => {}
            1 => parts.push("started".to_owned()),
            _ => parts.push(format!("started {}", self.started)),
        }
        if self.skipped > 0 {
            let why = if schedule.busy { "an earlier run has not ended" } else { "runs of it must not overlap" };
            parts.push(format!("skipped {}: {why}", self.skipped));
        }
        if self.superseded > 0 {
            parts.push(format!("skipped {}: only the last is caught up", self.superseded));
        }
        if self.missed > 0 {
            parts.push(format!("missed {}: no worker was there within {} s", self.missed, age_limit(schedule)));
        }
        if self.more {
            parts.push("and older ones".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Micros {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn schedule(cron: &str, zone: &str, from: &str) -> Schedule {
        let timetable = Timetable::parse(cron, zone).unwrap();
        let next_fire_at = timetable.next(at(from)).unwrap();
        let (overlap, catch_up, id) = (Overlap::Allow, CatchUp::None, Uuid::from_u128(7));
        Schedule { id, timetable, overlap, catch_up, starting_deadline: None, jitter: 0.0, next_fire_at, busy: false }
    }

    fn times(decision: &Decision) -> Vec<Micros> {
        decision.fires.iter().map(|fire| fire.fire_time).collect()
    }

    /// All fire times of a day, as the wall clock shows them with its offset.
    fn wall_clock(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let timetable = Timetable::parse(cron, zone).unwrap();
        let mut next = timetable.next(at(from) - 1);
        let mut shown = Vec::new();
        while let Some(time) = next.filter(|time| *time < at(to)) {
            let there = DateTime::from_timestamp_micros(time).unwrap().with_timezone(&timetable.zone);
            shown.push(there.format("%H:%M%:z").to_string());
            next = timetable.next(time);
        }
        shown
    }

    #[test]
    fn five_fields_or_six_with_seconds_and_nothing_else() {
        for cron in ["0 3 * * *", "*/5 * * * *", "*/2 * * * * *", "0 9 * * MON-FRI", "0 0 L * *", "@daily"] {
            assert!(Timetable::parse(cron, "Europe/Berlin").is_ok(), "{cron}");
        }
        for cron in
            ["", "* * * *", "61 * * * *", "0 3 * * nonsense", "1 2 3 4 5 6 2030", "*/0 * * * *", "0 3 * * *\n0 4 * * *"]
        {
            let message = Timetable::parse(cron, "UTC").unwrap_err();
            assert!(
                message.starts_with("cron ") && message.contains("such as") && !message.contains('\n'),
                "{message}"
            );
        }
        let message = Timetable::parse("0 3 * * *", "Mars/Olympus").unwrap_err();
        assert_eq!(
            message,
            "there is no time zone \"Mars/Olympus\": write a name of the IANA database, such as Europe/Berlin or UTC"
        );
    }

    #[test]
    fn a_name_stands_for_its_expression_and_any_other_is_refused_with_the_names_that_there_are() {
        let after = at("2026-03-04T05:06:07Z");
        let meant = ["0 * * * *", "0 0 * * *", "0 0 * * SUN", "0 0 1 * *", "0 0 1 1 *", "0 0 1 1 *"];
        for (name, cron) in MACROS.into_iter().zip(meant) {
            let next = |cron| Timetable::parse(cron, "Europe/Berlin").unwrap().next(after);
            assert_eq!(next(name), next(cron), "{name}");
        }
        for cron in ["@reboot", "@midnight", "@every 5m", "@Daily", "0 @daily", "@daily * * * *", "@"] {
            let message = Timetable::parse(cron, "UTC").unwrap_err();
            assert!(
                message.contains("@hourly, @daily, @weekly, @monthly, @yearly, @annually") && !message.contains('\n'),
                "{message}"
            );
        }
    }

    #[test]
    fn an_expression_that_fits_no_date_has_no_fire_time() {
        assert_eq!(Timetable::parse("0 0 30 2 *", "UTC").unwrap().next(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn it_fires_by_the_wall_clock_of_its_zone_summer_and_winter() {
        let timetable = Timetable::parse("0 3 * * *", "Europe/Berlin").unwrap();
        assert_eq!(timetable.next(at("2026-01-10T12:00:00Z")), Some(at("2026-01-11T02:00:00Z")));
        assert_eq!(timetable.next(at("2026-07-10T12:00:00Z")), Some(at("2026-07-11T01:00:00Z")));
    }

    #[test]
    fn a_time_of_day_that_the_clock_skips_fires_at_the_end_of_the_gap_and_an_interval_has_no_fire_time_in_it() {
        let (from, to) = ("2026-03-29T01:00:00+01:00", "2026-03-29T04:00:00+02:00");
        assert_eq!(wall_clock("30 2 * * *", "Europe/Berlin", from, to), ["03:00+02:00"]);
        let halves = ["01:00+01:00", "01:30+01:00", "03:00+02:00", "03:30+02:00"];
        assert_eq!(wall_clock("*/30 * * * *", "Europe/Berlin", from, to), halves);
    }

    #[test]
    fn a_time_of_day_that_comes_twice_fires_the_first_time_and_an_interval_goes_on_through_both_hours() {
        let (from, to) = ("2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00");
        assert_eq!(wall_clock("30 2 * * *", "Europe/Berlin", from, to), ["02:30+02:00"]);
        let halves = ["02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"];
        assert_eq!(wall_clock("*/30 * * * *", "Europe/Berlin", from, to), halves);
        let twice = schedule("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00:00+02:00");
        assert_eq!(decide(&twice, at("2026-10-25T02:30:00+02:00")).next_fire_at, Some(at("2026-10-26T02:30:00+01:00")));
    }

    #[test]
    fn no_run_is_started_for_a_fire_time_older_than_the_starting_deadline() {
        let minutely = schedule("* * * * *", "UTC", "2026-01-01T00:00:30Z");
        let first = at("2026-01-01T00:01:00Z");
        assert!(times(&decide(&minutely, first - 1)).is_empty());
        assert_eq!(times(&decide(&minutely, first)), [first]);
        assert_eq!(
            times(&decide(&Schedule { starting_deadline: Some(30.0), ..minutely.clone() }, first + 30 * SECOND)),
            [first]
        );
        let late = decide(&Schedule { starting_deadline: Some(30.0), ..minutely }, first + 31 * SECOND);
        assert_eq!((times(&late), late.next_fire_at), (vec![], Some(first + 60 * SECOND)));
        assert_eq!(late.outcome.as_deref(), Some("missed 1: no worker was there within 30 s"));
        assert_eq!(late.missed, 1);
    }

    #[test]
    fn catch_up_says_what_becomes_of_missed_fire_times() {
        let hourly = schedule("0 * * * *", "UTC", "2026-01-01T00:30:00Z");
        let hour = |n: i64| at("2026-01-01T00:00:00Z") + n * 3600 * SECOND;
        let caught = |catch_up, now| times(&decide(&Schedule { catch_up, ..hourly.clone() }, now));
        let later = hour(4) + 600 * SECOND;
        assert!(caught(CatchUp::None, later).is_empty());
        assert_eq!(caught(CatchUp::Last, later), [hour(4)]);
        assert_eq!(caught(CatchUp::All, later), [hour(1), hour(2), hour(3), hour(4)]);
        assert_eq!(caught(CatchUp::None, hour(4)), [hour(4)], "that one is not missed");
        assert_eq!(caught(CatchUp::Last, hour(4)), [hour(4)], "nor is there then anything to catch up");
        let bounded = Schedule { starting_deadline: Some(5000.0), ..hourly.clone() };
        for (catch_up, runs) in [(CatchUp::None, vec![hour(3), hour(4)]), (CatchUp::Last, vec![hour(4)])] {
            assert_eq!(times(&decide(&Schedule { catch_up, ..bounded.clone() }, later)), runs);
        }
        let all = decide(&Schedule { catch_up: CatchUp::All, ..bounded.clone() }, later);
        assert_eq!(
            (times(&all), all.outcome.as_deref()),
            (vec![hour(3), hour(4)], Some("started 2; missed 2: no worker was there within 5000 s"))
        );
        let none = decide(&Schedule { catch_up: CatchUp::Last, starting_deadline: Some(100.0), ..bounded }, later);
        assert!(times(&none).is_empty(), "too old even for the last");
    }

    #[test]
    fn a_year_of_missed_seconds_starts_the_newest_hundred() {
        let every_second = schedule("* * * * * *", "UTC", "2025-01-01T00:00:00Z");
        let now = at("2026-01-01T00:00:00Z");
        let caught = decide(&Schedule { catch_up: CatchUp::All, ..every_second }, now);
        assert_eq!(times(&caught), (0..100).rev().map(|ago| now - ago * SECOND).collect::<Vec<_>>());
        assert_eq!(caught.outcome.as_deref(), Some("started 100; and older ones"));
    }

    #[test]
    fn forbid_skips_while_an_earlier_run_has_not_ended_and_replace_ends_it() {
        let minutely = schedule("* * * * *", "UTC", "2026-01-01T00:00:30Z");
        let now = minutely.next_fire_at;
        let busy = |overlap| decide(&Schedule { overlap, busy: true, ..minutely.clone() }, now);
        assert_eq!((times(&busy(Overlap::Allow)), busy(Overlap::Allow).replace), (vec![now], false));
        assert_eq!((times(&busy(Overlap::Replace)), busy(Overlap::Replace).replace), (vec![now], true));
        let forbidden = busy(Overlap::Forbid);
        assert_eq!((times(&forbidden), forbidden.replace), (vec![], false));
        assert_eq!(forbidden.outcome.as_deref(), Some("skipped 1: an earlier run has not ended"));
        assert_eq!(forbidden.missed, 0, "left out on purpose");
        assert_eq!(times(&decide(&Schedule { overlap: Overlap::Forbid, ..minutely }, now)), [now]);
    }

    #[test]
    fn of_several_that_are_due_at_once_only_the_newest_runs_where_runs_must_not_overlap() {
        for overlap in [Overlap::Forbid, Overlap::Replace] {
            let seconds = Schedule { overlap, ..schedule("* * * * * *", "UTC", "2026-01-01T00:00:00Z") };
            let decision = decide(&seconds, at("2026-01-01T00:00:03Z"));
            assert_eq!(times(&decision), [at("2026-01-01T00:00:03Z")]);
            assert_eq!(decision.outcome.as_deref(), Some("started; skipped 2: runs of it must not overlap"));
        }
    }

    #[test]
    fn jitter_puts_a_run_off_by_the_same_time_at_every_try_and_differs_between_fire_times() {
        let jittery = Schedule { jitter: 600.0, ..schedule("* * * * *", "UTC", "2026-01-01T00:00:30Z") };
        let now = jittery.next_fire_at + 2 * 60 * SECOND;
        let jittery = Schedule { starting_deadline: Some(600.0), ..jittery };
        let first = decide(&jittery, now);
        assert_eq!(first, decide(&jittery, now));
        let delays: std::collections::HashSet<_> =
            first.fires.iter().map(|fire| fire.run_at.map(|at| at - fire.fire_time)).collect();
        assert_eq!(delays.len(), 3);
    }

    fn crons() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "* * * * * *",
            "*/7 * * * * *",
            "* * * * *",
            "*/13 * * * *",
            "30 2 * * *",
            "0 */6 * * *",
            "5 4 1 * *",
            "0 2 * * SUN",
        ])
    }

    fn zones() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
    }

    prop_compose! {
        /// Half of them begin within days of a change of the clocks.
        fn any_schedule()(
            cron in crons(), zone in zones(), overlap in 0..3usize, catch_up in 0..3usize, deadline in prop::option::of(0.0..4000.0f64), jitter in 0.0..900.0f64,
            start in prop_oneof![1_700_000_000i64..1_900_000_000, 1_774_500_000i64..1_774_900_000, 1_792_700_000i64..1_793_000_000],
            busy: bool, id: u128,
        ) -> Schedule {
            let timetable = Timetable::parse(cron, zone).unwrap();
            let next_fire_at = timetable.next(start * SECOND).unwrap();
            let overlap = [Overlap::Allow, Overlap::Forbid, Overlap::Replace][overlap];
            let catch_up = [CatchUp::None, CatchUp::Last, CatchUp::All][catch_up];
            Schedule { id: Uuid::from_u128(id), timetable, overlap, catch_up, starting_deadline: deadline, jitter, next_fire_at, busy }
        }
    }

    /// Seconds between two firings: quick ones, and outages of days.
    fn looks() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(prop_oneof![8 => 0.1..100.0f64, 1 => 100.0..500_000.0f64], 1..40)
    }

    proptest! {
        #[test]
        fn what_fires_is_a_fire_time_up_to_now_in_order_within_the_bounds(schedule in any_schedule(), wait in 0.0..200_000.0f64) {
            let now = schedule.next_fire_at + (wait * 1e6) as Micros;
            let decision = decide(&schedule, now);
            let fired = times(&decision);
            prop_assert!(fired.len() <= MAX_FIRES && fired.is_sorted_by(|a, b| a < b));
            prop_assert!(fired.iter().all(|time| (schedule.next_fire_at..=now).contains(time)));
            prop_assert!(fired.iter().all(|time| schedule.timetable.next(time - 1) == Some(*time)));
            prop_assert!(decision.next_fire_at.is_none_or(|next| next > now));
            prop_assert!(decision.outcome.is_some(), "something was decided");
            for fire in &decision.fires {
                let run_at = fire.run_at.unwrap_or(fire.fire_time);
                prop_assert!((fire.fire_time..=fire.fire_time + (schedule.jitter * 1e6) as Micros).contains(&run_at));
            }
            let limit = schedule.starting_deadline.or((schedule.catch_up == CatchUp::None).then_some(60.0));
            prop_assert!(limit.is_none_or(|limit| fired.iter().all(|time| (now - time) as f64 <= limit * 1e6)));
            if schedule.overlap != Overlap::Allow {
                prop_assert!(fired.len() <= 1);
            }
        }

        /// At whatever times workers fire: nothing fires twice, and with catch-up of all and short gaps nothing is left out.
        #[test]
        fn every_fire_time_is_decided_once(schedule in any_schedule(), looks in looks()) {
            let mut schedule = Schedule { overlap: Overlap::Allow, catch_up: CatchUp::All, starting_deadline: None, ..schedule };
            let (first, mut now) = (schedule.next_fire_at, schedule.next_fire_at);
            let (mut fired, mut bounded) = (Vec::new(), false);
            for wait in looks {
                now += (wait * 1e6) as Micros;
                let decision = decide(&schedule, now);
                bounded |= decision.fires.len() == MAX_FIRES;
                fired.extend(times(&decision));
                let Some(next) = decision.next_fire_at else { break };
                schedule.next_fire_at = next;
            }
            prop_assert!(fired.is_sorted_by(|a, b| a < b), "each once, in order");
            if !bounded {
                let mut all = Vec::new();
                let mut next = Some(first);
                while let Some(time) = next.filter(|time| *time <= now) {
                    all.push(time);
                    next = schedule.timetable.next(time);
                }
                prop_assert_eq!(fired, all);
            }
        }
    }
}
