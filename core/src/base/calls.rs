//! Many enqueues differ only in their arguments: what they have in common is checked, and goes to the database, once.
use crate::base::error::Result;
use crate::base::limits::{self, check_payload};
use crate::base::types::{Call, NewExecution};

/// Each call is compared with this many of the last distinct ones.
const LOOK_BACK: usize = 8;

/// The distinct calls of a batch, and for each of its items the place of its call, from 1 on as SQL counts.
#[derive(Debug, Default)]
pub struct Calls<'a> {
    pub distinct: Vec<(&'a Call, Option<&'a str>)>,
    pub places: Vec<i32>,
}

impl<'a> Calls<'a> {
    /// Groups pairs of a call and the hash of its input schema.
    pub fn of(items: impl Iterator<Item = (&'a Call, Option<&'a str>)>) -> Calls<'a> {
        let mut calls = Calls::default();
        for (call, checked) in items {
            let recent = calls.distinct.len().saturating_sub(LOOK_BACK);
            let like = |(other, hash): &(&Call, Option<&str>)| alike(call, other) && checked == *hash;
            let place = match calls.distinct[recent..].iter().rposition(like) {
                Some(place) => recent + place,
                None => {
                    calls.distinct.push((call, checked));
                    calls.distinct.len() - 1
                }
            };
            calls.places.push(place as i32 + 1);
        }
        calls
    }

    /// The values of one array parameter.
    pub fn column<T>(&self, value: impl Fn(&'a Call) -> T) -> Vec<T> {
        self.distinct.iter().map(|(call, _)| value(call)).collect()
    }

    /// The options that the calls store, and the names of those that their callers chose.
    pub fn options(&self) -> (Vec<Option<String>>, Vec<String>) {
        (self.column(|call| call.options.stored(call.kind)), self.column(|call| call.given.join(",")))
    }
}

/// Whether two calls are equal, apart from their arguments and headers, which are sent for each item.
fn alike(a: &Call, b: &Call) -> bool {
    let Call { kind, function, queue, priority, args: _, options, delay, run_at, given, headers: _ } = a;
    *kind == b.kind
        && *function == b.function
        && *queue == b.queue
        && *priority == b.priority
        && *options == b.options
        && *delay == b.delay
        && *run_at == b.run_at
        && *given == b.given
}

/// Refuses executions with values outside their ranges: an error says which. The tables have no such constraints (tests check the rows with
/// core/tests/invariants.sql). Of several calls one after another with the same options only the first is checked.
pub fn check(items: &[NewExecution]) -> Result<()> {
    let mut before: Option<&Call> = None;
    for item in items {
        check_payload("args", &item.call.args)?;
        if !before.is_some_and(|before| alike(before, &item.call)) {
            check_call(&item.call)?;
        }
        if let Some(key) = &item.idempotency_key {
            limits::IDEMPOTENCY_KEY.check(key)?;
        }
        before = Some(&item.call);
    }
    Ok(())
}

fn check_call(call: &Call) -> Result<()> {
    limits::FUNCTION.check(&call.function)?;
    limits::QUEUE.check(&call.queue)?;
    limits::PRIORITY.check(call.priority)?;
    call.options.check()?;
    call.delay.map_or(Ok(()), |delay| limits::DELAY.check(delay))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::Kind;

    fn call(function: &str, args: &str) -> Call {
        Call::new(Kind::Task, function, "q", args.as_bytes())
    }

    #[test]
    fn calls_that_differ_in_their_arguments_only_are_one() {
        let later = Call { delay: Some(1.0), ..call("f", "1") };
        let items = [call("f", "1"), call("f", "2"), call("g", "1"), call("f", "3"), later];
        let calls = Calls::of(items.iter().map(|call| (call, None)));
        assert_eq!(calls.places, [1, 1, 2, 1, 3]);
        assert_eq!(calls.column(|call| call.function.as_str()), ["f", "g", "f"]);
    }

    #[test]
    fn what_was_checked_against_another_schema_is_another_call() {
        let one = call("f", "1");
        let calls = Calls::of([(&one, None), (&one, Some("")), (&one, None)].into_iter());
        assert_eq!(calls.places, [1, 2, 1]);
    }

    #[test]
    fn the_search_for_a_like_is_bounded() {
        let items: Vec<Call> = (0..20).map(|number| call(&format!("f{number}"), "1")).collect();
        let twice = items.iter().chain(&items);
        let calls = Calls::of(twice.map(|call| (call, None)));
        assert_eq!(calls.places.len(), 40);
        let functions = calls.column(|call| call.function.clone());
        for (item, place) in items.iter().chain(&items).zip(&calls.places) {
            assert_eq!(functions[*place as usize - 1], item.function);
        }
    }

    fn enqueued(call: Call) -> NewExecution {
        NewExecution { id: uuid::Uuid::nil(), call, idempotency_key: None, checked: None }
    }

    fn refusal(change: impl Fn(&mut Call)) -> String {
        let mut changed = call("f", "1");
        change(&mut changed);
        // Not the first of its batch: different calls must not count as alike.
        let items = [enqueued(call("f", "1")), enqueued(changed)];
        check(&items).expect_err("it should be refused").to_string()
    }

    #[test]
    fn each_value_out_of_its_range_is_refused_by_name() {
        assert_eq!(check(&[enqueued(call("f", "1")), enqueued(call("f", "2"))]), Ok(()));
        assert_eq!(refusal(|call| call.priority = 11), "priority must be a number from 0 to 10, not 11");
        assert_eq!(refusal(|call| call.options.timeout = Some(0.0)), "timeout must be more than 0, not 0");
        assert_eq!(refusal(|call| call.queue = "q".repeat(201)), "queue must have 1 to 200 characters, not 201");
        assert_eq!(refusal(|call| call.function = "a\0b".into()), r#"function must not hold a NUL: "a\0b""#);
        assert_eq!(refusal(|call| call.args = vec![0xff]), "args must be JSON in UTF-8");
        for wrong in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(refusal(|call| call.options.timeout = Some(wrong)).starts_with("timeout must be"));
            assert!(refusal(|call| call.options.retry.initial = wrong).starts_with("retry.initial must be"));
            assert!(refusal(|call| call.options.retry.multiplier = wrong).starts_with("retry.multiplier must be"));
            assert!(refusal(|call| call.options.retry.max_delay = wrong).starts_with("retry.max_delay must be"));
            assert!(refusal(|call| call.options.retry.jitter = wrong).starts_with("retry.jitter must be"));
        }
        assert!(refusal(|call| call.delay = Some(f64::NAN)).starts_with("delay must be"));
        assert!(refusal(|call| call.options.retry.max_attempts = 0).starts_with("retry.max_attempts must be"));
        for wrong in [-1, 1_000_001] {
            assert!(refusal(|call| call.options.max_worker_losses = wrong).starts_with("max_worker_losses must be"));
        }
        assert!(refusal(|call| call.queue.clear()).starts_with("queue must have"));
    }
}
