//! Verbs that workflows ask for, as they are stored: the JSON in `steps.request`. Later releases read what earlier ones wrote, so these
//! structs change only by fields that have a default; a test compares them with `stored_verbs.golden.jsonl`.
//!
//! A detached start is stored as its arguments, just as the caller encoded them.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::base::types::{Call, Kind, Micros, NewExecution, Options};
use crate::engine::items::Verb;

#[derive(Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
enum StoredVerb {
    Signal { target: Uuid, name: String, payload: String },
    Cancel { target: Uuid, force: bool },
    Status { target: Uuid },
    Result { target: Uuid },
    Enqueue { id: Uuid, call: Box<StoredCall>, idempotency_key: Option<String>, checked: Option<String> },
}

#[derive(Serialize, Deserialize)]
struct StoredCall {
    kind: String,
    function: String,
    queue: String,
    priority: i16,
    args: String,
    #[serde(default)]
    options: Map<String, Value>,
    delay: Option<f64>,
    run_at: Option<Micros>,
    #[serde(default)]
    given: Vec<String>,
    headers: Option<String>,
}

/// Payloads are JSON in UTF-8; the client's verbs refuse any other.
fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

impl From<&Verb> for StoredVerb {
    fn from(verb: &Verb) -> StoredVerb {
        match verb {
            Verb::Signal { target, name, payload } => {
                StoredVerb::Signal { target: *target, name: name.clone(), payload: text(payload) }
            }
            Verb::Cancel { target, force } => StoredVerb::Cancel { target: *target, force: *force },
            Verb::Status { target } => StoredVerb::Status { target: *target },
            Verb::Result { target } => StoredVerb::Result { target: *target },
            Verb::Enqueue(new) => StoredVerb::Enqueue {
                id: new.id,
                call: Box::new(StoredCall::from(&new.call)),
                idempotency_key: new.idempotency_key.clone(),
                checked: new.checked.clone(),
            },
        }
    }
}

impl From<&Call> for StoredCall {
    fn from(call: &Call) -> StoredCall {
        StoredCall {
            kind: call.kind.as_str().into(),
            function: call.function.clone(),
            queue: call.queue.clone(),
            priority: call.priority,
            args: text(&call.args),
            options: call.options.stored_map(call.kind),
            delay: call.delay,
            run_at: call.run_at,
            given: call.given.clone(),
            headers: call.headers.clone(),
        }
    }
}

impl StoredVerb {
    fn verb(self) -> Result<Verb, String> {
        Ok(match self {
            StoredVerb::Signal { target, name, payload } => {
                Verb::Signal { target, name, payload: payload.into_bytes() }
            }
            StoredVerb::Cancel { target, force } => Verb::Cancel { target, force },
            StoredVerb::Status { target } => Verb::Status { target },
            StoredVerb::Result { target } => Verb::Result { target },
            StoredVerb::Enqueue { id, call, idempotency_key, checked } => {
                Verb::Enqueue(Box::new(NewExecution { id, call: call.call()?, idempotency_key, checked }))
            }
        })
    }
}

impl StoredCall {
    fn call(self) -> Result<Call, String> {
        let kind = Kind::parse(&self.kind).map_err(|unknown| unknown.to_string())?;
        Ok(Call {
            kind,
            function: self.function,
            queue: self.queue,
            priority: self.priority,
            args: self.args.into_bytes(),
            options: Options::read(kind, self.options).map_err(|error| error.to_string())?,
            delay: self.delay,
            run_at: self.run_at,
            given: self.given,
            headers: self.headers,
        })
    }
}

pub(super) fn write_verb(verb: &Verb) -> Vec<u8> {
    serde_json::to_vec(&StoredVerb::from(verb)).unwrap_or_default() // cannot fail: all keys of its maps are texts
}

/// Reads a stored verb. The error says why it cannot be read.
pub(super) fn read_verb(stored: &[u8]) -> Result<Verb, String> {
    let stored: StoredVerb =
        serde_json::from_slice(stored).map_err(|error| format!("the request of a verb is unknown ({error})"))?;
    stored.verb()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("stored_verbs.golden.jsonl");

    fn verbs() -> Vec<Verb> {
        let target = Uuid::from_u128(7);
        let call = Call {
            delay: Some(1.5),
            run_at: Some(1_000_000),
            options: Options { timeout: Some(60.0), ..Options::of(Kind::Workflow) },
            given: vec!["queue".into(), "priority".into()],
            headers: Some(r#"{"traceparent": "00-1"}"#.into()),
            ..Call::new(Kind::Workflow, "shop.order", "orders", br#"{"args": [1]}"#)
        };
        let (idempotency_key, checked) = (Some("order-1".into()), Some("hash".into()));
        vec![
            Verb::Signal { target, name: "paid".into(), payload: br#"{"by": "caf\u00e9"}"#.to_vec() },
            Verb::Cancel { target, force: true },
            Verb::Status { target },
            Verb::Result { target },
            Verb::Enqueue(Box::new(NewExecution { id: target, call, idempotency_key, checked })),
        ]
    }

    #[test]
    fn each_verb_is_stored_as_it_was_and_read_back() {
        let written: Vec<String> = verbs().iter().map(|verb| String::from_utf8(write_verb(verb)).unwrap()).collect();
        assert_eq!(written.join("\n"), GOLDEN.trim_end());
        let read: Vec<Verb> = GOLDEN.lines().map(|line| read_verb(line.as_bytes()).unwrap()).collect();
        assert_eq!(read, verbs());
    }

    #[test]
    fn what_was_stored_before_there_was_a_field_is_read() {
        let enqueue = GOLDEN.lines().last().unwrap();
        let mut stored: serde_json::Value = serde_json::from_str(enqueue).unwrap();
        stored.as_object_mut().unwrap().remove("checked");
        for field in ["options", "given", "headers"] {
            stored["call"].as_object_mut().unwrap().remove(field).unwrap();
        }
        let Verb::Enqueue(new) = read_verb(stored.to_string().as_bytes()).unwrap() else { panic!("{stored}") };
        assert_eq!(new.call.options, Options::of(Kind::Workflow));
        assert_eq!((new.call.given, new.call.headers, new.checked), (vec![], None, None));
    }

    #[test]
    fn an_unknown_verb_or_kind_says_what_is_unknown() {
        let refusal = |stored: &str| read_verb(stored.as_bytes()).expect_err("it should be refused");
        assert!(refusal(r#"{"verb": "sing"}"#).contains("sing"));
        let enqueue = GOLDEN.lines().last().unwrap().replace("\"workflow\"", "\"lottery\"");
        assert_eq!(refusal(&enqueue), r#"the kind of execution "lottery" is unknown"#);
    }
}
