//! The one list of the verbs that Python has. After a change run `make build`, and then `make generate`, which writes `_core.pyi`.

/// Calls the macro `make` with the tokens `more` and the list of verbs. Each verb is one line:
/// `Struct = method(argument: Type = default) -> Answer = |conn| what one try does;`.
macro_rules! for_each_verb {
    ($make:ident $(, $more:tt)*) => {
        $make! {
            $($more;)*

            /// Brings the schema up to this release; returns what was done (`Migrated`).
            Migrate = migrate() -> Json = |conn| quiet(migrate::migrate_as_json(conn).await), {
                const NEEDS_NO_SCHEMA: bool = true;
            };

            /// The version of the database's schema, 0 without one.
            SchemaVersion = schema_version() -> i32 = |conn| quiet(migrate::schema_version(conn).await), {
                const NEEDS_NO_SCHEMA: bool = true;
            };

            // Executions

            GetExecution = get_execution(id: Uuid) -> Json = |conn| quiet(read::get_execution(conn, *id).await);

            Show = show(id: Uuid) -> Json = |conn| quiet(read::show(conn, *id).await);

            ListExecutions = list_executions(filters: Filters) -> Json
                = |conn| quiet(read::list_executions(conn, filters).await);

            CancelExecution = cancel_execution(id: Uuid, force: bool = false) -> ()
                = |conn| waking(control::cancel(conn, *id, *force).await), {
                fn done_already(&self, refusal: &Error) -> Option<()> {
                    matches!(refusal, Error::NotRunning(_)).then_some(())
                }
            };

            RetryExecution = retry_execution(id: Uuid) -> () = |conn| waking(control::retry(conn, *id).await), {
                fn done_already(&self, refusal: &Error) -> Option<()> {
                    matches!(refusal, Error::Other(_)).then_some(())
                }
            };

            // The verbs of a worker, one statement a call

            UpdateHeartbeat = update_heartbeat(worker_id: Uuid, name: String, queues: Vec<String>) -> ()
                = |conn| waking(one_by_one::update_heartbeat(conn, *worker_id, name, queues).await);

            /// Returns (id, lease, JSON).
            ClaimExecutions = claim_executions(worker_id: Uuid, queues: Vec<String>, limit: i32) -> Vec<(Uuid, i64, Json)>
                = |conn| quiet(one_by_one::claim_executions(conn, *worker_id, queues, *limit).await);

            /// `items`: (id, lease, result). Returns the ids that were refused.
            CompleteExecutions = complete_executions(worker_id: Uuid, items: Vec<(Uuid, i64, Json)>) -> Vec<Uuid>
                = |conn| one_by_one::complete_executions(conn, *worker_id, items).await;

            /// `items`: (id, lease, error, whether to try again). Returns the ids that were refused.
            FailExecutions = fail_executions(worker_id: Uuid, items: Vec<(Uuid, i64, Json, bool)>) -> Vec<Uuid>
                = |conn| one_by_one::fail_executions(conn, *worker_id, items, rand::random()).await;

            /// `items`: (id, lease). Returns the ids that were refused.
            SuspendWorkflows = suspend_workflows(worker_id: Uuid, items: Vec<(Uuid, i64)>) -> Vec<Uuid>
                = |conn| one_by_one::suspend_workflows(conn, *worker_id, items).await;

            /// Returns the ids of those that were suspended.
            ResumeWorkflows = resume_workflows(ids: Vec<Uuid>) -> Vec<Uuid>
                = |conn| control::resume_workflows(conn, ids).await;

            // Queues, workers and pools of workers

            Queues = queues() -> Json = |conn| quiet(read::queues(conn).await);

            Workers = workers() -> Json = |conn| quiet(read::workers(conn).await);

            Doctor = doctor() -> Json = |conn| quiet(doctor::facts(conn).await);

            /// `pools`: JSON, `[{"key", "queues"}]`.
            Fleet = fleet(pools: String) -> Json = |conn| quiet(fleet::fleet(conn, pools).await);

            /// `pools`: JSON, `[{"key", "queues", "horizon"}]`.
            Scaling = scaling(pools: String) -> Json = |conn| quiet(fleet::scaling(conn, pools).await);

            AskToDrain = ask_to_drain(pod_uids: Vec<String>, drain: bool) -> ()
                = |conn| quiet(fleet::ask_to_drain(conn, pod_uids, *drain).await);

            /// `pods`: (UID, reason).
            EndPods = end_pods(pods: Vec<(String, String)>) -> ()
                = |conn| waking(fleet::end_pods(conn, pods).await);

            /// `containers`: (UID of the pod, reason, end in microseconds since 1970).
            EndContainers = end_containers(containers: Vec<(String, String, i64)>) -> ()
                = |conn| waking(fleet::end_containers(conn, containers).await);

            QueueRetentions = queue_retentions() -> Json = |conn| quiet(retention::list(conn).await);

            /// In seconds, or None for ever.
            SetQueueRetention = set_queue_retention(queue: String, retention: Option<f64>) -> ()
                = |conn| quiet(retention::set(conn, queue, *retention).await);

            // Definitions and schedules

            /// `items`: a JSON array.
            ApplyDefinitions = apply_definitions(items: String) -> Json = |conn| definitions::apply(conn, items).await, {
                // A thousand definitions, and everything that waits for a changed limit is gone through.
                const LIMIT: Limit = Limit::Exactly(Duration::from_secs(120));
            };

            DeleteDefinitions = delete_definitions(owners: Vec<String>) -> i32
                = |conn| definitions::delete(conn, owners).await;

            ListDefinitions = list_definitions() -> Json = |conn| quiet(definitions::list(conn).await);

            DefinitionStats = definition_stats(functions: Vec<String>) -> Json
                = |conn| quiet(definitions::stats(conn, functions).await);

            ListSchedules = list_schedules() -> Json = |conn| quiet(schedules::list(conn).await);
        }
    };
}
pub(crate) use for_each_verb;
