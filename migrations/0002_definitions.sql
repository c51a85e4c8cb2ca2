-- The tables of what is said of functions: by their code, by definitions (Kubernetes: Workflow), and when they run by themselves.

-- The decorators' values of functions, as workers' code has them: for enqueues that come without it (SQL, schedules). A row is what one version of
-- the code says of one function; of several the one counts that currant.declared gives. They stay when nobody serves the function.
create table currant.functions (
    function text not null,
    code text not null,                    -- as currant.workers has it
    build text not null,                   -- of the worker that wrote the row, for people
    kind text not null check (kind in ('task', 'workflow')),
    queue text,                            -- null: the code names none
    priority smallint not null,
    options jsonb,                         -- as in currant.executions
    registered_at timestamptz not null default clock_timestamp(), -- when workers of this code came, after there were none
    primary key (function, code)
);

-- Rules for a function outside its code (Kubernetes: Workflow); obeyed by every enqueue, claim and clean-up. Null: not said.
create table currant.definitions (
    function text primary key check (length(function) between 1 and 500),
    owner text not null check (owner <> ''),
    version integer,
    queue text check (length(queue) between 1 and 200),
    priority smallint check (priority between 0 and 10),
    options jsonb,                         -- as in currant.executions, but what is not there is not said
    concurrency_limit integer check (concurrency_limit >= 1),
    suspended boolean not null default false,
    -- False until the executions that were there before the definition are marked (mark_runs). Meanwhile nothing starts if there is a limit.
    runs_marked boolean not null default false,
    -- How many executions may have started and not ended: each of them has a permit. Null: any number.
    permits integer generated always as (case when suspended or (concurrency_limit is not null and not runs_marked) then 0 else concurrency_limit end) stored,
    retention double precision check (retention > 0),          -- seconds that a run stays after its end
    input_schema jsonb,
    input_hash text,
    item text not null,                    -- as it was applied
    updated_at timestamptz not null default clock_timestamp(),
    constraint a_schema_has_a_hash check ((input_schema is null) = (input_hash is null))
);
create index definitions_owner on currant.definitions (owner);
create index definitions_limited on currant.definitions (function) where permits is not null;
create index definitions_retention on currant.definitions (function) where retention is not null;

-- How long ended runs of a queue stay, in seconds, where their function's definition does not say.
create table currant.queue_retentions (
    queue text primary key check (length(queue) between 1 and 200),
    retention double precision not null check (retention > 0),
    updated_at timestamptz not null default clock_timestamp()
);

-- When runs past their retention were last deleted; the worker that locks the row does it.
create table currant.upkeep (
    one boolean primary key default true check (one),
    swept_at timestamptz not null,
    walk_began_at timestamptz not null,    -- the last walk over old runs, for the retentions of queues
    walked_to uuid                         -- how far that has come; null: to the end
);
insert into currant.upkeep (swept_at, walk_began_at) values ('-infinity', '-infinity');

-- The fields of a definition that an enqueue needs.
create type currant.rule as (
    function text, queue text, priority smallint, options jsonb, limited boolean, input_hash text
);

-- When functions run by themselves. One row is one schedule; it fires while a worker is there, any worker.
create table currant.schedules (
    id uuid primary key,
    function text not null check (function <> ''),
    name text not null check (length(name) between 1 and 200),
    owner text not null,
    cron text not null,
    time_zone text not null,
    args bytea not null,
    overlap text not null check (overlap in ('Allow', 'Forbid', 'Replace')),
    catch_up text not null check (catch_up in ('None', 'Last', 'All')),
    starting_deadline double precision check (starting_deadline >= 0), -- no run is started for a fire time this many seconds old
    jitter double precision not null check (jitter >= 0),              -- seconds that a run is put off at most
    suspended boolean not null,
    definition_suspended boolean not null, -- with its whole definition
    next_fire_at timestamptz,              -- null: its cron expression has no time to come
    due_at timestamptz,                    -- when a worker tries it: next_fire_at, later after a failure
    last_fire_at timestamptz,              -- the last fire time that started a run
    last_outcome text,                     -- of the last fire times: what was started, skipped or failed, and why
    missed bigint not null default 0,      -- fire times that started no run as they were too old, or as only the last was caught up
    unique (function, name)
);
create index schedules_due on currant.schedules (due_at) where not suspended and not definition_suspended;
create index schedules_owner on currant.schedules (owner);
