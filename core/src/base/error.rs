//! Errors, by what the caller should do about them.

/// Messages are one line, for people, and never contain a password.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The database does not answer or dropped the connection: try again later. Whether the write was committed is not known.
    #[error("{0}")]
    Unavailable(String),
    /// The database cannot be used as configured (wrong URL, password or database name): waiting does not help.
    #[error("{0}")]
    Refused(String),
    /// The schema is missing, too old or too new. The message says what to run.
    #[error("{0}")]
    SchemaMismatch(String),
    /// Another session has a lock on a row for longer than we wait: nothing was written, try again later.
    #[error("{0}")]
    Locked(String),
    /// A deadlock, a serialization failure, or the same enqueue at the same time: nothing was written, try again now.
    #[error("{0}")]
    Conflict(String),
    /// The database refused a value. Nothing was written; the same call fails again.
    #[error("{message}")]
    Data { message: String, code: String },
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NotRunning(String),
    /// Nothing was stored: arguments are to be checked against these schemas first; JSON `{function: {"hash", "schema"}}`.
    #[error("{0}")]
    UncheckedInput(String),
    /// A bad argument.
    #[error("{0}")]
    Invalid(String),
    /// Any other error: the request does not fit the state of the execution, or something that should not happen has happened.
    #[error("{0}")]
    Other(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::Conflict(_) | Error::Locked(_))
    }

    /// An error of connecting. No value and nothing of the schema has been used yet, so the error is about the database or its URL.
    pub fn of_connecting(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) => from_door(inner.code().as_deref().unwrap_or(""), inner.message()),
            _ => error.into(),
        }
    }
}

const REFUSED: &[&str] = &["28P01", "28000", "3D000", "0LP01"];
const NO_RIGHT: &str = "42501";
const MISSING_OBJECT: &[&str] = &["3F000", "42P01", "42703", "42704", "42883", "42846", "42804"];
/// Deadlock, serialization failure.
const CONFLICT: &[&str] = &["40001", "40P01"];
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Read-only (a standby after a fail-over), statement cancelled, administrator's shutdown, out of memory, disk or connections.
const PASSING: &[&str] =
    &["25006", "57014", "57P01", "57P02", "57P03", "57P05", "53000", "53100", "53200", "53300", "58000", "58030"];

/// The database takes no connections (`allow_connections false`), as during maintenance.
const CLOSED: &str = "55000";

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // Ids are made once: the same enqueue was under way on a connection whose answer was lost.
            sqlx::Error::Database(inner) if inner.constraint() == Some("executions_pkey") => {
                Error::Conflict(one_line(inner.message()))
            }
            sqlx::Error::Database(inner) => from_server(inner.code().as_deref().unwrap_or(""), inner.message()),
            sqlx::Error::Encode(inner) => Error::Data { message: one_line(&inner.to_string()), code: "22000".into() },
            sqlx::Error::Configuration(inner) => {
                Error::Refused(one_line(&format!("the database URL is wrong: {inner}")))
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Error::SchemaMismatch(one_line(&format!(
                    "the database answers in an unknown form ({error}): run `currant migrate`"
                )))
            }
            sqlx::Error::PoolTimedOut => {
                Error::Unavailable("the database cannot be reached: no connection in time".into())
            }
            sqlx::Error::PoolClosed => Error::Refused("the connection to the database is closed".into()),
            other => Error::Unavailable(one_line(&format!("the database cannot be reached: {other}"))),
        }
    }
}

fn from_server(code: &str, message: &str) -> Error {
    let message = one_line(message);
    if code == LOCK_NOT_AVAILABLE {
        Error::Locked(message)
    } else if CONFLICT.contains(&code) {
        Error::Conflict(message)
    } else if PASSING.contains(&code) || code.starts_with("08") {
        Error::Unavailable(format!("the database is not available: {message}"))
    } else if REFUSED.contains(&code) {
        Error::Refused(format!("the database refused the connection: {message}"))
    } else if code == NO_RIGHT {
        Error::Refused(format!(
            "the database's role has no right to do this: {message} (`currant roles` prints what roles need)"
        ))
    } else if MISSING_OBJECT.contains(&code) {
        Error::SchemaMismatch(format!(
            "the database has no schema of Currant, or an older one ({message}): run `currant migrate`"
        ))
    } else {
        Error::Data { message, code: code.into() }
    }
}

/// The server's answer to a client that connects.
fn from_door(code: &str, message: &str) -> Error {
    if code == CLOSED {
        return Error::Unavailable(format!("the database is not available: {}", one_line(message)));
    }
    match from_server(code, message) {
        // For example a setting in `options` of the URL.
        Error::Data { .. } | Error::SchemaMismatch(_) => {
            Error::Refused(format!("the database refused the connection: {}", one_line(message)))
        }
        other => other,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        assert!(from_server("57P01", "terminating connection").is_transient());
        assert!(from_server("25006", "cannot execute UPDATE in a read-only transaction").is_transient());
        assert!(from_server("40P01", "deadlock detected").is_transient());
        assert!(from_server("55P03", "canceling statement due to lock timeout").is_transient());
        assert!(!from_server("28P01", "password authentication failed").is_transient());
        assert!(
            matches!(from_server("42P01", "relation does not exist"), Error::SchemaMismatch(m) if m.contains("currant migrate"))
        );
        assert!(matches!(from_server("22021", "invalid byte sequence"), Error::Data { .. }));
    }

    #[test]
    fn an_answer_to_a_client_that_connects_is_about_the_database_and_not_about_a_value_or_the_schema() {
        assert!(from_door("55000", "database \"d\" is not currently accepting connections").is_transient());
        assert!(matches!(from_door("42704", "unrecognized configuration parameter"), Error::Refused(_)));
        assert!(matches!(from_door("22023", "invalid value for parameter"), Error::Refused(_)));
        assert!(from_door("57P03", "the database system is starting up").is_transient());
        assert!(matches!(from_door("28P01", "password authentication failed"), Error::Refused(_)));
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(from_server("XX000", "a\n  b").to_string(), "a b");
    }
}
