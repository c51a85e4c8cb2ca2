//! The range of every value that callers choose. Each range is written here only.
//!
//! A `Range` is for numbers and durations (seconds), a `Length` for names (characters). Every one has the name that users know the value by;
//! `check_as` is for a value that has a longer name where it is given, as `retry.initial` of a definition.
use crate::base::error::{Error, Result};

/// A number from `least` to `most`, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub name: &'static str,
    pub least: f64,
    pub most: f64,
}

/// A text of 1 to `most` characters without a NUL, which Postgres cannot store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    pub name: &'static str,
    pub most: usize,
}

/// The longest duration in seconds: Postgres can add it to a time, and nobody waits for longer.
const LONGEST: f64 = 1e10;
/// The least number above 0: a range that starts here does not include 0.
const ABOVE_ZERO: f64 = f64::MIN_POSITIVE;

const fn range(name: &'static str, least: f64, most: f64) -> Range {
    Range { name, least, most }
}

pub const PRIORITY: Range = range("priority", 0.0, 10.0);
/// How many priorities there are: arrays are indexed by priority.
pub const PRIORITIES: usize = 1 + PRIORITY.most as usize;
pub const MAX_ATTEMPTS: Range = range("max_attempts", 1.0, 1e6);
pub const MAX_WORKER_LOSSES: Range = range("max_worker_losses", 0.0, 1e6);
/// Where nothing else is said.
pub const DEFAULT_MAX_WORKER_LOSSES: i32 = 3;
pub const RETRY_INITIAL: Range = range("initial", 0.0, LONGEST);
pub const RETRY_MULTIPLIER: Range = range("multiplier", 1.0, LONGEST);
pub const RETRY_MAX_DELAY: Range = range("max_delay", 0.0, LONGEST);
pub const RETRY_JITTER: Range = range("jitter", 0.0, 1.0);
pub const TIMEOUT: Range = range("timeout", ABOVE_ZERO, LONGEST);
pub const RETENTION: Range = range("retention", ABOVE_ZERO, LONGEST);
/// A delay below 0 was over this time ago.
pub const DELAY: Range = range("delay", -LONGEST, LONGEST);
pub const CONCURRENCY_LIMIT: Range = range("concurrency_limit", 1.0, i32::MAX as f64);

/// All ranges, for code that shows or tests them.
pub const RANGES: &[Range] = &[
    PRIORITY,
    MAX_ATTEMPTS,
    MAX_WORKER_LOSSES,
    RETRY_INITIAL,
    RETRY_MULTIPLIER,
    RETRY_MAX_DELAY,
    RETRY_JITTER,
    TIMEOUT,
    RETENTION,
    DELAY,
    CONCURRENCY_LIMIT,
];

pub const FUNCTION: Length = Length { name: "function", most: 500 };
pub const QUEUE: Length = Length { name: "queue", most: 200 };
pub const SIGNAL_NAME: Length = Length { name: "signal_name", most: 200 };
pub const IDEMPOTENCY_KEY: Length = Length { name: "idempotency_key", most: 500 };
pub const CLASS_NAME: Length = Length { name: "non_retryable", most: 1_000 };
pub const OWNER: Length = Length { name: "owner", most: 1_000 };

/// All lengths, for code that shows or tests them.
pub const LENGTHS: &[Length] = &[FUNCTION, QUEUE, SIGNAL_NAME, IDEMPOTENCY_KEY, CLASS_NAME, OWNER];

impl Range {
    pub fn check(&self, value: impl Into<f64>) -> Result<()> {
        self.check_as(self.name, value)
    }

    /// As `check`; the message calls the value `what`.
    pub fn check_as(&self, what: &str, value: impl Into<f64>) -> Result<()> {
        let value = value.into();
        if self.holds(value) { Ok(()) } else { Err(Error::Invalid(format!("{what} must be {self}, not {value}"))) }
    }

    /// Whether the number is in the range; false for NaN, too.
    pub fn holds(&self, value: f64) -> bool {
        (self.least..=self.most).contains(&value)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.least {
            ABOVE_ZERO => f.write_str("more than 0"),
            least => write!(f, "a number from {least} to {}", self.most),
        }
    }
}

impl Length {
    pub fn check(&self, value: &str) -> Result<()> {
        self.check_as(self.name, value)
    }

    /// As `check`; the message calls the value `what`.
    pub fn check_as(&self, what: &str, value: &str) -> Result<()> {
        if value.contains('\0') {
            return Err(Error::Invalid(format!("{what} must not hold a NUL: {value:?}")));
        }
        // Most names are short: the number of bytes then suffices.
        if value.is_empty() || (value.len() > self.most && value.chars().count() > self.most) {
            let length = value.chars().count();
            return Err(Error::Invalid(format!("{what} must have 1 to {} characters, not {length}", self.most)));
        }
        Ok(())
    }
}

/// Payloads are JSON: bytes that are not even text would break every view that shows them.
pub fn check_payload(what: &str, payload: &[u8]) -> Result<()> {
    match std::str::from_utf8(payload) {
        Ok(text) if !text.contains('\0') => Ok(()),
        _ => Err(Error::Invalid(format!("{what} must be JSON in UTF-8"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_range_takes_its_bounds_and_refuses_what_is_beyond_them_by_name() {
        for range in RANGES {
            assert_eq!(range.check(range.least), Ok(()), "{range:?}");
            assert_eq!(range.check(range.most), Ok(()), "{range:?}");
            let step = range.most.abs() * 1e-9;
            for wrong in [range.least - step, range.most + step, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let refusal = range.check(wrong).expect_err(range.name).to_string();
                assert!(refusal.starts_with(&format!("{} must be ", range.name)), "{refusal}");
            }
        }
    }

    #[test]
    fn each_length_takes_its_bounds_in_characters_and_refuses_what_is_beyond_them_by_name() {
        for length in LENGTHS {
            assert_eq!(length.check("x"), Ok(()), "{length:?}");
            assert_eq!(length.check(&"\u{e9}".repeat(length.most)), Ok(()), "{length:?}");
            for wrong in ["", "a\0b", &"x".repeat(length.most + 1)] {
                let refusal = length.check(wrong).expect_err(length.name).to_string();
                assert!(refusal.starts_with(&format!("{} must ", length.name)), "{refusal}");
            }
        }
    }

    #[test]
    fn messages_say_what_would_be_right() {
        let message = |refused: Result<()>| refused.expect_err("it should be refused").to_string();
        assert_eq!(message(PRIORITY.check(11)), "priority must be a number from 0 to 10, not 11");
        assert_eq!(message(TIMEOUT.check(0)), "timeout must be more than 0, not 0");
        assert_eq!(
            message(RETRY_JITTER.check_as("retry.jitter", 2)),
            "retry.jitter must be a number from 0 to 1, not 2"
        );
        assert_eq!(message(QUEUE.check("")), "queue must have 1 to 200 characters, not 0");
        assert_eq!(message(QUEUE.check("a\0b")), r#"queue must not hold a NUL: "a\0b""#);
    }

    proptest! {
        #[test]
        fn any_name_is_taken_or_refused_in_one_line(name in ".{0,250}") {
            if let Err(refused) = QUEUE.check(&name) {
                prop_assert!(name.is_empty() || name.chars().count() > 200 || name.contains('\0'));
                prop_assert_eq!(refused.to_string().lines().count(), 1);
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let text = std::str::from_utf8(&bytes).is_ok_and(|text| !text.contains('\0'));
            prop_assert_eq!(check_payload("args", &bytes).is_ok(), text);
        }
    }
}
