//! When a failed attempt is tried again. Pure: time and randomness are arguments.
use crate::base::types::Policy;

/// Seconds from the failure of attempt number `attempt` (from 1) to the next: exponential back-off with a cap, spread evenly by
/// `jitter` to both sides. `random` is in 0..1. Never negative, never above `max_delay`.
pub fn retry_delay(policy: &Policy, attempt: i32, random: f64) -> f64 {
    let exponent = attempt.saturating_sub(1).max(0);
    // Infinite for large exponents, NaN for 0 * infinity: the cap and the last line take care of both.
    let grown = policy.initial * policy.multiplier.powi(exponent);
    let base = if grown.is_nan() { policy.initial } else { grown.min(policy.max_delay) };
    let spread = 1.0 + policy.jitter * (2.0 * random - 1.0);
    (base * spread).clamp(0.0, policy.max_delay.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(initial: f64, multiplier: f64, max_delay: f64, jitter: f64) -> Policy {
        Policy { initial, multiplier, max_delay, jitter, ..Policy::default() }
    }

    #[test]
    fn without_jitter_it_doubles_up_to_the_cap() {
        let policy = policy(1.0, 2.0, 5.0, 0.0);
        let delays: Vec<f64> = (1..=5).map(|attempt| retry_delay(&policy, attempt, 0.9)).collect();
        assert_eq!(delays, [1.0, 2.0, 4.0, 5.0, 5.0]);
    }

    #[test]
    fn jitter_spreads_to_both_sides() {
        let policy = policy(10.0, 2.0, 100.0, 0.5);
        assert_eq!(retry_delay(&policy, 1, 0.0), 5.0);
        assert_eq!(retry_delay(&policy, 1, 0.5), 10.0);
        assert_eq!(retry_delay(&policy, 1, 1.0), 15.0);
    }

    proptest! {
        #[test]
        fn it_stays_between_zero_and_the_cap(
            initial in 0.0..1e9f64, multiplier in 1.0..1e6f64, max_delay in 0.0..1e9f64, jitter in 0.0..=1.0f64,
            attempt in i32::MIN..i32::MAX, random in 0.0..1.0f64,
        ) {
            let delay = retry_delay(&policy(initial, multiplier, max_delay, jitter), attempt, random);
            prop_assert!((0.0..=max_delay).contains(&delay), "{delay}");
        }

        #[test]
        fn without_jitter_a_later_attempt_never_waits_less(attempt in 1..2000i32, multiplier in 1.0..10.0f64) {
            let policy = policy(0.5, multiplier, 300.0, 0.0);
            prop_assert!(retry_delay(&policy, attempt, 0.0) <= retry_delay(&policy, attempt + 1, 0.0));
        }
    }
}
