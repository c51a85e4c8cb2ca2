//! Time.

/// A moment by the server's clock: microseconds since 1970, UTC.
pub type Micros = i64;
