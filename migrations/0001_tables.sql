-- The tables. An execution is one row, a step that is an execution is a child row: the children are the history.
-- No foreign keys between hot tables: they cost a lock per insert, and the functions of this schema are the only writers.

create table currant.schema_info (
    one boolean primary key default true check (one),
    min_client integer not null,           -- clients whose own schema version is below this are refused
    -- The newest release that has created functions here, and a hash of all their texts; null: none has yet.
    functions_release text,
    functions_digest text
);
insert into currant.schema_info (min_client) values (1);

-- The files of migrations/functions that were run here, each with the hash of its text: a file whose text is another is run again.
create table currant.function_files (
    name text primary key,
    checksum text not null,
    created_at timestamptz not null default clock_timestamp()
);

-- This transaction, as a number that orders transactions by their start. What a transaction makes ready carries it (ready_xid).
create function currant.xid() returns bigint language sql stable parallel restricted as $$ select pg_current_xact_id()::text::bigint $$;

-- No check constraints: each statement would compile all of them again, which is a sixth of a whole enqueue. They are in
-- core/tests/invariants.sql, and every test runs with them.
--
-- A row is written three times: by the enqueue, the claim and the outcome. What stays as it was enqueued comes first, and what changes comes
-- last, so that the difference between two versions, which is what the WAL gets, is short. No index has a column that an outcome changes in
-- every execution (state, finished_at, seq ...), neither as a key nor in its condition: an outcome is a heap-only update, without a new entry
-- in any index.
create table currant.executions (
    id uuid primary key,
    root_id uuid not null,
    created_at timestamptz not null default clock_timestamp(),
    priority smallint not null default 5,  -- 0..10
    kind text not null,                    -- task workflow
    function text not null,
    queue text not null,

    -- The call, as the caller gave it. bytea, since jsonb rewrites numbers and the order of keys.
    -- The options that no index and no claim needs: time-out, retry policy, max_worker_losses. As JSON of the form that callers in SQL write them in;
    -- what is not there has the default of its kind (default_options), so most executions have null.
    options jsonb,
    encoding text not null default 'json',
    args bytea not null,

    -- Place in the tree. parent_epoch and step_key say of which history of the parent this row is a step.
    parent_id uuid,
    after_seq bigint,                      -- the parent's counter when it made the call
    parent_epoch integer,
    step_key text collate "C",

    -- Room for what comes: search attributes, trace context, concurrency limits, schedules, continue-as-new, progress.
    schedule_id uuid,
    fire_time timestamptz,
    open_schedule uuid,                    -- its schedule until it ends, then null: for an index
    tags text[],
    headers jsonb,
    continued_from uuid,
    progress jsonb,

    -- Where it stands.
    -- The transaction that made it ready (or let it await a permit), by which claims remember how far they looked. Null: it is not pending, or not due.
    ready_xid bigint,
    ready_at timestamptz not null default clock_timestamp(), -- when it last became ready: how long it waits
    run_at timestamptz,                    -- null: ready (if pending); else due then (pending or suspended)
    suspended_at timestamptz,              -- since when it is suspended; null: it is not
    signal_seq bigint not null default 0,  -- orders the run's signals
    epoch integer not null default 0,      -- of its own history; grows when a run is retried
    worker_losses integer not null default 0, -- attempts that ended with their worker; they cost no retry
    -- The losses since it last made progress that only it can have caused: it ran alone, or as a poison suspect.
    suspect_losses integer not null default 0,
    cancel_requested boolean not null default false,
    incompatible boolean not null default false,   -- its code did not fit its history: it waits for another build
    loss_suspected boolean not null default false, -- a worker was lost that it may have killed; after the next such loss it is a poison suspect
    poison_suspect boolean not null default false, -- may have killed workers: a worker runs at most one such execution at a time
    -- Limits, where its function has a definition (0002_definitions).
    defined boolean not null default false, -- its function has a definition, which counts it
    has_permit boolean not null default false,    -- has one of the permits of its function, from its start until it ends
    awaiting_permit boolean not null default false,  -- waits for a permit, apart from what is ready
    defined_state text,                    -- copies of `state` and `finished_at` where its function has a definition, for an index;
    defined_end timestamptz,               -- null in all others
    refused_builds text[],                 -- the builds whose code did not fit: they do not claim it again
    abandoned bigint,                      -- the parent's counter when it stopped waiting for this step
    progress_lease bigint,                 -- the last lease under which it made progress
    deadline timestamptz,                  -- a workflow's time-out, from its first start
    wakes bigint not null default 0,       -- grows with whatever should wake the run (rule c)
    lease bigint not null default 0,       -- the fence: it grows at every claim, take-over, hand-back, cancel and retry
    attempt integer not null default 0,
    started_at timestamptz,
    attempt_at timestamptz,                -- when the present attempt was claimed
    claim_xid bigint,                      -- by which transaction: its row in `claims`
    worker_id uuid,                        -- stays on a finished row: "already done under my lease" is success
    build text,
    finished_at timestamptz,
    seq bigint,                            -- the parent's counter when the outcome was delivered; null: not delivered
    clock bigint,                          -- the parent's clock at that moment, microseconds since 1970
    state text not null default 'pending', -- pending running suspended completed failed cancelled
    error bytea,
    result bytea
);

create unique index executions_steps on currant.executions (parent_id, parent_epoch, step_key) where parent_id is not null;
create index executions_ready on currant.executions (queue, priority desc, ready_xid, id) 
    where ready_xid is not null and not poison_suspect and not awaiting_permit;
create index executions_poison_suspects on currant.executions (queue, priority desc, id) where ready_xid is not null and poison_suspect;
create index executions_due on currant.executions (queue, run_at) where run_at is not null;
create index executions_suspended on currant.executions (queue) where suspended_at is not null;
create index executions_incompatible on currant.executions (queue) where incompatible;
create unique index executions_schedule on currant.executions (schedule_id, fire_time) where schedule_id is not null;
create index executions_open_schedule on currant.executions (open_schedule) where open_schedule is not null;
create index executions_awaiting_permit on currant.executions (queue, function, priority desc, id) where awaiting_permit;
-- One index for permits, counts and retention: every index, a partial one too, costs something at each write.
create index executions_defined on currant.executions (function, defined_state, has_permit, (parent_id is null), defined_end) where defined;
-- A claim and an outcome each write the row anew: with this much room on its page both fit there.
alter table currant.executions set (fillfactor = 50);
-- Each task leaves two dead versions. At its default pace (40 MB/s at most) autovacuum falls behind some thousand tasks a second: the
-- table grows, and it takes all the longer.
alter table currant.executions set (autovacuum_vacuum_cost_limit = 2000, autovacuum_vacuum_scale_factor = 0.05);

-- A row is what a worker has claimed, or started as eager steps, in one transaction: it is there as long as any of that runs. By these rows the
-- executions that a worker runs are found (running_executions). One row for many executions costs less than an index on the worker, which each outcome would have to change.
create table currant.claims (
    worker_id uuid not null,
    xid bigint not null,                   -- the transaction
    executions uuid[] not null,
    unended integer not null,              -- how many of them have not ended or gone back; the row is deleted with the last
    primary key (worker_id, xid)
);
-- Rows come and go with every claim.
alter table currant.claims set (autovacuum_vacuum_cost_limit = 2000, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Steps that are not executions.
create table currant.steps (
    execution_id uuid not null,
    epoch integer not null,
    key text collate "C" not null,
    kind text not null check (kind in ('timer', 'signal', 'version', 'side_effect', 'verb', 'detach', 'cancel', 'timeout')),
    name text not null default '',
    due_at timestamptz,
    status text check (status in ('completed', 'failed', 'cancelled', 'fired', 'timeout')),
    payload bytea,
    request bytea,                         -- what a verb or a detached start asked for: a replay must ask for the same
    encoding text not null default 'json',
    after_seq bigint not null,
    abandoned bigint,
    seq bigint,
    clock bigint,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (execution_id, epoch, key),
    constraint numbered_with_a_clock check ((seq is null) = (clock is null)),
    constraint numbered_has_a_status check (seq is null or status is not null)
);

alter table currant.steps set (autovacuum_vacuum_cost_limit = 2000, autovacuum_vacuum_scale_factor = 0.05);

create table currant.signals (
    execution_id uuid not null,
    ordinal bigint not null,
    name text not null,
    payload bytea not null,
    encoding text not null default 'json',
    dedup_key text,
    consumed_epoch integer,
    consumed_by text collate "C",
    created_at timestamptz not null default now(),
    primary key (execution_id, ordinal),
    constraint consumed_by_a_step check ((consumed_by is null) = (consumed_epoch is null))
);
create unique index signals_dedup on currant.signals (execution_id, dedup_key) where dedup_key is not null;

create table currant.workers (
    id uuid primary key,
    name text not null,
    host text not null default '',
    pid integer,
    build text not null default '',
    code text not null default '',         -- what its code says of its functions, as currant.functions has it: a hash
    queues text[] not null,
    tasks text[] not null default '{}',    -- the names its registry knows
    workflows text[] not null default '{}',
    concurrency integer not null default 0,
    draining boolean not null default false,
    started_at timestamptz not null default now(),
    last_heartbeat timestamptz not null default now(),
    timeout double precision not null default 30,  -- seconds without a heartbeat after which it is dead
    sleep_until timestamptz not null default '-infinity',
    stopped_at timestamptz,
    pool text,                             -- in Kubernetes: namespace/name of its WorkerPool, and its pod
    pod_name text,
    pod_uid text,
    pod_gone boolean not null default false, -- its pod is no more: it does not come back, even if its process lives a little longer
    end_reason text,                       -- why its pod ended: OOMKilled Evicted NodeLost Preempted Deleted Error
    drain_asked_at timestamptz,            -- when the operator asked it to claim nothing more; null: it did not
    claims boolean not null default true   -- false: no worker, but a client that is notified like one
);
create index workers_pod on currant.workers (pod_uid) where pod_uid is not null and stopped_at is null;

create table currant.idempotency_keys (
    function text not null,
    key text not null,
    execution_id uuid not null,
    expires_at timestamptz not null default now() + interval '30 days',
    primary key (function, key)
);
create index idempotency_keys_execution on currant.idempotency_keys (execution_id);

create type currant.claimed as (
    id uuid, lease bigint, kind text, function text, queue text, priority smallint, attempt integer, worker_losses integer,
    args bytea, options text, deadline bigint, parent_id uuid, step_key text, root_id uuid, epoch integer, wakes bigint,
    started bigint, fresh boolean, poison_suspect boolean, ready_xid bigint
);
