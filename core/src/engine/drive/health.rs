//! The answers of `/healthz`, `/readyz` and `/metrics`. Postgres has no part in them: a worker waits out an outage.
use std::time::Instant;

use crate::base::http::Answer;
use crate::engine::drive::shared::Shared;

pub fn answer(shared: &Shared, path: &str) -> Answer {
    if path == "/metrics" {
        let page = shared.state().page();
        return Some((200, "application/openmetrics-text; version=1.0.0; charset=utf-8", page.text()));
    }
    let state = shared.state();
    match path {
        "/healthz" => Some(match state.ailment(Instant::now()) {
            None => (200, "text/plain", "ok\n".into()),
            Some(ailment) => (503, "text/plain", format!("{ailment}\n")),
        }),
        "/readyz" => Some(match state.not_ready() {
            None => (200, "text/plain", "ok\n".into()),
            Some(reason) => (503, "text/plain", format!("{reason}\n")),
        }),
        _ => None,
    }
}
