//! The store against a real server: one test binary, since to link one takes longer than to run its tests.
mod claims;
mod clients;
mod commits;
mod cursors;
mod declared;
mod definitions;
mod fleet;
mod migrations;
mod plans;
mod query_answers;
mod retention;
mod schedules;
mod support;
mod takeover;
