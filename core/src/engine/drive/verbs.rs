//! Does the client's verbs that workflows asked for, once they are recorded. A verb may be done again after a take-over:
//! signals carry a dedup key, ids and keys of enqueues are fixed, cancels and reads change nothing the second time.
use std::sync::Arc;
use std::time::Duration;

use crate::base::error::{Error, Result};
use crate::base::types::{ExecutionState, Status};
use crate::client::Client;
use crate::engine::decide::errors::error_json;
use crate::engine::drive::shared::Shared;
use crate::engine::items::{Verb, VerbRequest};

/// The pause between two tries, after the client's time-out is over.
const PAUSE: Duration = Duration::from_millis(500);

pub fn spawn(shared: &Arc<Shared>) {
    let requests = shared.state().take_verbs();
    for request in requests {
        let shared = shared.clone();
        tokio::spawn(async move {
            let Some((status, payload)) = insist(&shared, &request).await else { return };
            let mut state = shared.state();
            state.verb_done(&request, status, payload);
            drop(state);
            shared.wake_fd.wake();
        });
    }
}

/// Calls the verb until the database has answered: an outage is no outcome, however long it lasts. Returns None if the run is not here any more.
async fn insist(shared: &Shared, request: &VerbRequest) -> Option<(Status, Vec<u8>)> {
    loop {
        match perform(&shared.client, request).await {
            Ok(outcome) => return Some(outcome),
            Err(error) if error.is_transient() => {
                if *shared.gone.borrow() || !shared.state().waits_for_verb(request) {
                    return None;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                return Some((Status::Failed, error_json(error_type(&error), &error.to_string())));
            }
        }
    }
}

async fn perform(client: &Client, request: &VerbRequest) -> Result<(Status, Vec<u8>)> {
    match &request.verb {
        Verb::Signal { target, name, payload } => {
            let dedup = format!("{}:{}:{}", request.run, request.epoch, request.key);
            client.send_signal(*target, name.clone(), payload.clone(), Some(dedup)).await?;
            Ok((Status::Completed, b"null".to_vec()))
        }
        Verb::Cancel { target, force } => {
            client.cancel(*target, *force).await?;
            Ok((Status::Completed, b"null".to_vec()))
        }
        Verb::Status { target } => {
            let status = client.wait_execution(*target, Some(0.0)).await?;
            Ok((Status::Completed, serde_json::to_vec(&status.state).unwrap_or_default()))
        }
        Verb::Result { target } => {
            let status = client.wait_execution(*target, None).await?;
            let payload = status.payload;
            match ExecutionState::parse(&status.state) {
                Ok(ExecutionState::Completed) => Ok((Status::Completed, payload)),
                Ok(ExecutionState::Failed) => Ok((Status::Failed, payload)),
                Ok(ExecutionState::Cancelled) => Ok((Status::Cancelled, Vec::new())),
                _ => Err(Error::Other(format!("execution {target} is {}", status.state))),
            }
        }
        Verb::Enqueue(execution) => {
            let ids = client.create_executions(vec![(**execution).clone()]).await?;
            let id = ids.first().map(ToString::to_string).unwrap_or_default();
            Ok((Status::Completed, serde_json::to_vec(&id).unwrap_or_default()))
        }
    }
}

fn error_type(error: &Error) -> &'static str {
    match error {
        Error::NotFound(_) => "NotFound",
        Error::NotRunning(_) => "NotRunning",
        _ => "CurrantError",
    }
}
