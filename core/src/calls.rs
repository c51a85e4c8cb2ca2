//! Many enqueues are alike but for their arguments: what they have in common goes to the database once.
use crate::types::Call;

/// So many of the last distinct calls are compared with.
const LOOK_BACK: usize = 8;

/// The distinct calls of a batch, and for each of its items the place of its call, from 1 on as SQL counts.
#[derive(Debug, Default)]
pub struct Calls<'a> {
    pub distinct: Vec<(&'a Call, Option<&'a str>)>,
    pub places: Vec<i32>,
}

impl<'a> Calls<'a> {
    /// Of (call, hash of its input schema).
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
}

/// Everything but the arguments, and the headers, which go another way.
fn alike(a: &Call, b: &Call) -> bool {
    let Call { kind, function, queue, priority, args: _, policy, timeout, delay, run_at, given, headers: _ } = a;
    *kind == b.kind
        && *function == b.function
        && *queue == b.queue
        && *priority == b.priority
        && *policy == b.policy
        && *timeout == b.timeout
        && *delay == b.delay
        && *run_at == b.run_at
        && *given == b.given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Kind, Policy};

    fn call(function: &str, args: &str) -> Call {
        let policy = Policy {
            max_attempts: 1,
            initial: 1.0,
            multiplier: 2.0,
            max_delay: 3.0,
            jitter: 0.0,
            non_retryable: Vec::new(),
        };
        Call {
            kind: Kind::Task,
            function: function.into(),
            queue: "q".into(),
            priority: 5,
            args: args.into(),
            policy,
            timeout: None,
            delay: None,
            run_at: None,
            given: 0,
            headers: None,
        }
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
}
