//! A durable call, and the enqueue of one.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::limits::{self, DEFAULT_MAX_WORKER_LOSSES};
use crate::base::types::moment::Micros;
use crate::base::types::names::Kind;

/// When a failed attempt is tried again. Durations in seconds; `non_retryable` has names of exception classes. An attempt that is lost with its
/// worker is no failed attempt: `max_attempts` does not count it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub max_attempts: i32,
    pub initial: f64,
    pub multiplier: f64,
    pub max_delay: f64,
    pub jitter: f64,
    pub non_retryable: Vec<String>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The options of a call that no index and no claim needs. Their JSON, of the form in which callers in SQL write them, is stored in
/// `executions.options`: a new field is an option that is stored and carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Seconds. None: no time-out.
    pub timeout: Option<f64>,
    pub retry: Policy,
    /// The allowed number of lost workers of which only this execution can be the cause; the next such loss fails it as `WorkerLost`. With 0
    /// the execution fails when any worker is lost that has claimed it, and a task also when a worker that stops would hand it back after it has
    /// begun.
    pub max_worker_losses: i32,
    /// Options of newer releases: they are carried on.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for Policy {
    /// The policy of `Retry()` in the SDK.
    fn default() -> Policy {
        Policy {
            max_attempts: 4,
            initial: 1.0,
            multiplier: 2.0,
            max_delay: 300.0,
            jitter: 0.1,
            non_retryable: Vec::new(),
            other: Map::new(),
        }
    }
}

impl Options {
    /// The options of an execution that stores none; `default_options` in SQL has the same. They are part of the stored form, so a later release
    /// does not change them.
    pub fn of(kind: Kind) -> Options {
        let (timeout, max_attempts) = match kind {
            Kind::Task => (Some(300.0), 4),
            Kind::Workflow => (None, 1),
        };
        let retry = Policy { max_attempts, ..Policy::default() };
        Options { timeout, retry, max_worker_losses: DEFAULT_MAX_WORKER_LOSSES, other: Map::new() }
    }

    /// Reads the stored form: a JSON object, in which what is not there has the default of the kind.
    pub fn parse(kind: Kind, stored: Option<&str>) -> Result<Options> {
        match stored {
            None => Ok(Options::of(kind)),
            Some(text) => Options::read(kind, serde_json::from_str(text).map_err(unreadable)?),
        }
    }

    /// As `parse`, from JSON that has been read.
    pub fn read(kind: Kind, stored: Map<String, Value>) -> Result<Options> {
        Options::over_defaults(kind, stored).map_err(unreadable)
    }

    fn over_defaults(kind: Kind, given: Map<String, Value>) -> serde_json::Result<Options> {
        let mut options = serde_json::to_value(Options::of(kind))?;
        for (name, value) in given {
            match (&mut options[&name], value) {
                (Value::Object(parts), Value::Object(given)) => parts.extend(given),
                (option, value) => *option = value,
            }
        }
        serde_json::from_value(options)
    }

    /// The stored form; None if all options have the defaults of the kind.
    pub fn stored(&self, kind: Kind) -> Option<String> {
        if *self == Options::of(kind) {
            return None;
        }
        let options = self.stored_map(kind);
        (!options.is_empty()).then(|| Value::Object(options).to_string())
    }

    /// As `stored`; empty if all options have the defaults of the kind.
    pub fn stored_map(&self, kind: Kind) -> Map<String, Value> {
        let mut options = self.as_map();
        unlike(&mut options, &Options::of(kind).as_map());
        options
    }

    /// All options by name.
    pub fn as_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(options)) => options,
            _ => Map::new(), // cannot be: all keys are texts
        }
    }

    /// Refuses values outside their ranges.
    pub fn check(&self) -> Result<()> {
        let retry = &self.retry;
        self.timeout.map_or(Ok(()), |timeout| limits::TIMEOUT.check(timeout))?;
        limits::MAX_WORKER_LOSSES.check(self.max_worker_losses)?;
        limits::MAX_ATTEMPTS.check_as("retry.max_attempts", retry.max_attempts)?;
        limits::RETRY_INITIAL.check_as("retry.initial", retry.initial)?;
        limits::RETRY_MULTIPLIER.check_as("retry.multiplier", retry.multiplier)?;
        limits::RETRY_MAX_DELAY.check_as("retry.max_delay", retry.max_delay)?;
        limits::RETRY_JITTER.check_as("retry.jitter", retry.jitter)?;
        retry.non_retryable.iter().try_for_each(|name| limits::CLASS_NAME.check_as("retry.non_retryable", name))
    }

    /// Options that a definition says, of which each may be missing or null (not said), without those; None if it says nothing. Refuses unknown
    /// names and values outside their ranges.
    pub fn of_definition(mut said: Map<String, Value>) -> Result<Option<Value>> {
        without_nulls(&mut said);
        let options =
            Options::over_defaults(Kind::Task, said.clone()).map_err(|error| Error::Invalid(error.to_string()))?;
        if let Some(unknown) = options.other.keys().chain(options.retry.other.keys()).next() {
            return Err(Error::Invalid(format!("unknown field `{unknown}`")));
        }
        options.check()?;
        Ok(Some(Value::Object(said)).filter(|said| *said != serde_json::json!({})))
    }
}

/// Reads stored options, of which most are those that were read before: these are not read again.
pub struct LastOptions(Option<(Kind, Option<String>, Options)>);

impl LastOptions {
    pub const NONE: LastOptions = LastOptions(None);

    /// As `Options::parse`.
    pub fn parse(&mut self, kind: Kind, stored: Option<String>) -> Result<Options> {
        match &self.0 {
            Some((of, text, options)) if (*of, text) == (kind, &stored) => Ok(options.clone()),
            _ => {
                let options = Options::parse(kind, stored.as_deref())?;
                self.0 = Some((kind, stored, options.clone()));
                Ok(options)
            }
        }
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::SchemaMismatch(format!("options of an execution have an unknown form ({error}): install a newer Currant"))
}

/// Takes out what is as in `defaults`; a name that is not there has the default null.
fn unlike(options: &mut Map<String, Value>, defaults: &Map<String, Value>) {
    options.retain(|name, value| match (value, defaults.get(name)) {
        (Value::Object(parts), Some(Value::Object(defaults))) => {
            unlike(parts, defaults);
            !parts.is_empty()
        }
        (value, default) => *value != *default.unwrap_or(&Value::Null),
    });
}

fn without_nulls(said: &mut Map<String, Value>) {
    said.retain(|_, value| {
        if let Value::Object(parts) = value {
            without_nulls(parts);
            return !parts.is_empty();
        }
        !value.is_null()
    });
}

/// One durable call. `delay` is in seconds. `given`: the names of the options that the caller itself chose (`queue`, `priority`, and those in
/// `options`). For the others the definition of the function, if any, outranks the call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub kind: Kind,
    pub function: String,
    pub queue: String,
    pub priority: i16,
    pub args: Vec<u8>,
    pub options: Options,
    pub delay: Option<f64>,
    pub run_at: Option<Micros>,
    pub given: Vec<String>,
    /// The caller's trace context, a JSON object.
    pub headers: Option<String>,
}

impl Call {
    /// A call of priority 5 that is due at once, with the default options of its kind; nothing is said by the caller itself.
    pub fn new(kind: Kind, function: &str, queue: &str, args: &[u8]) -> Call {
        Call {
            kind,
            function: function.into(),
            queue: queue.into(),
            priority: 5,
            args: args.into(),
            options: Options::of(kind),
            delay: None,
            run_at: None,
            given: Vec::new(),
            headers: None,
        }
    }
}

/// An enqueue by a client, which made its id. `checked`: the hash of the input schema that the arguments were checked against, empty
/// if the function has no schema, or None if no check is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct NewExecution {
    pub id: Uuid,
    pub call: Call,
    pub idempotency_key: Option<String>,
    pub checked: Option<String>,
}

/// The result of an enqueue.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The id (where another execution has the idempotency key: the id of that), and the queue of a new execution.
    Stored { id: Uuid, queue: Option<String> },
    /// The execution is not stored, because its arguments were not checked against this schema (JSON).
    Unchecked { hash: String, schema: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    /// The stored forms, which every release must read and write.
    fn golden() -> Vec<(Kind, Options, Option<&'static str>)> {
        let own = Policy {
            max_attempts: 2,
            initial: 0.5,
            multiplier: 3.0,
            max_delay: 60.0,
            jitter: 0.0,
            non_retryable: vec!["shop.Declined".into()],
            ..Policy::default()
        };
        let (task, workflow) = (Options::of(Kind::Task), Options::of(Kind::Workflow));
        let newer = map(serde_json::json!({"colour": "red"}));
        vec![
            (Kind::Task, task.clone(), None),
            (Kind::Workflow, workflow.clone(), None),
            (Kind::Task, Options { timeout: None, ..task.clone() }, Some(r#"{"timeout":null}"#)),
            (Kind::Workflow, Options { timeout: Some(7.5), ..workflow.clone() }, Some(r#"{"timeout":7.5}"#)),
            (Kind::Workflow, task.clone(), Some(r#"{"retry":{"max_attempts":4},"timeout":300.0}"#)),
            (
                Kind::Task,
                Options { timeout: Some(1.0), retry: own, max_worker_losses: 0, ..task.clone() },
                Some(concat!(
                    r#"{"max_worker_losses":0,"retry":{"initial":0.5,"jitter":0.0,"max_attempts":2,"max_delay":60.0,"#,
                    r#""multiplier":3.0,"non_retryable":["shop.Declined"]},"timeout":1.0}"#
                )),
            ),
            (
                Kind::Task,
                Options { other: newer.clone(), retry: Policy { other: newer, ..Policy::default() }, ..task },
                Some(r#"{"colour":"red","retry":{"colour":"red"}}"#),
            ),
        ]
    }

    #[test]
    fn options_are_stored_without_the_defaults_of_the_kind_and_read_back_with_what_newer_releases_know() {
        for (kind, options, stored) in golden() {
            assert_eq!(options.stored(kind).as_deref(), stored);
            assert_eq!(Options::parse(kind, stored).unwrap(), options, "{stored:?}");
        }
    }

    #[test]
    fn what_is_given_in_full_or_in_part_is_stored_in_the_same_form() {
        for (kind, options, stored) in golden() {
            let full = Options::read(kind, options.as_map()).unwrap();
            assert_eq!(full.stored(kind).as_deref(), stored);
        }
        let whole =
            Options::parse(Kind::Task, Some(r#"{"timeout": 300, "retry": {"initial": 1, "jitter": 0.1}}"#)).unwrap();
        assert_eq!(whole.stored(Kind::Task), None);
    }

    #[test]
    fn an_option_of_a_newer_release_that_is_not_given_takes_no_room() {
        let options = Options::parse(Kind::Task, Some(r#"{"colour": null}"#)).unwrap();
        assert_eq!(options.stored(Kind::Task), None);
    }

    #[test]
    fn an_unreadable_form_asks_for_a_newer_release() {
        for stored in ["", "[]", r#"{"timeout": "long"}"#, r#"{"retry": {"max_attempts": 1.5}}"#] {
            let error = Options::parse(Kind::Task, Some(stored)).expect_err(stored).to_string();
            assert!(error.contains("install a newer Currant"), "{error}");
        }
    }

    #[test]
    fn a_definition_says_what_it_says_and_nothing_that_is_unknown_or_out_of_range() {
        let said = |said| Options::of_definition(map(said)).map_err(|error| error.to_string());
        assert_eq!(said(serde_json::json!({"timeout": null, "retry": {"initial": null}})), Ok(None));
        let partly = serde_json::json!({"retry": {"max_attempts": 4}, "max_worker_losses": null});
        assert_eq!(said(partly), Ok(Some(serde_json::json!({"retry": {"max_attempts": 4}}))));
        for (wrong, message) in [
            (serde_json::json!({"colour": "red"}), "unknown field `colour`"),
            (serde_json::json!({"retry": {"tries": 1}}), "unknown field `tries`"),
            (serde_json::json!({"retry": {"jitter": 2}}), "retry.jitter must be a number from 0 to 1, not 2"),
            (serde_json::json!({"timeout": 0}), "timeout must be more than 0, not 0"),
        ] {
            assert_eq!(said(wrong), Err(message.to_string()));
        }
    }
}
