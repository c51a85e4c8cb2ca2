-- Writes what one worker has, all or nothing, except what its leases no longer cover. After a lost reply the same call may be made again.
-- The rows of the answer, by `tag`:
--   refused    `ref` is an execution whose lease is lost: nothing of it was written
--   postponed  `ref` is a child that was to be eager and is pending, because its definition has a limit, or other options than its call
--   worker     to be notified after the commit: `worker_id`, about the execution `ref`
--   queue      workers that sleep on `queue_name` are to be notified after the commit
--   since      `lease` is this transaction, which made things ready in these queues
--   claimed    the other columns are the claimed execution
--   range      (q_look) what is ready in a range of one priority, as `claim` says it
--   slow       `lease`: microseconds that it took to find what is claimed, if that was long
--
-- f_: the executions under whose leases it writes; f_parents: the runs that wait for them (locked, perhaps woken)
-- c_: children and detached executions to insert; what many have in common comes once, in k_: c_calls is the index there, from 1 on
-- s_: steps to insert; the payload of a verb and of a detached start is its request
-- d_: outcomes of steps                                  v_: outcomes of children, recorded before, now delivered
-- o_: outcomes of executions of this worker: complete fail cancel retry handback suspend hold. o_tasks: it is a task, and its parent,
--     if it has one, is in f_parents; where that is not known, it is read. A suspended run is pending at
--     once if it was woken more often than `o_wakes` (rule c); if that is null, if there is any news for it (has_news)
-- x_: steps no longer waited for                         p_: runs that made progress
-- q_, l_, r_: the arguments of `claim`
create or replace function currant.commit_batch(
    p_worker uuid,
    f_ids uuid[], f_leases bigint[], f_parents uuid[],
    c_runs uuid[], c_ids uuid[], c_roots uuid[], c_parents uuid[], c_epochs integer[], c_keys text[], c_after bigint[],
    c_args bytea[], c_run_ats bigint[], c_eager boolean[], c_calls integer[],
    k_kinds text[], k_functions text[], k_queues text[], k_priorities smallint[], k_options text[], k_given text[],
    s_runs uuid[], s_epochs integer[], s_keys text[], s_kinds text[], s_names text[], s_dues bigint[], s_after bigint[],
    s_statuses text[], s_payloads bytea[], s_seqs bigint[], s_clocks bigint[],
    d_runs uuid[], d_epochs integer[], d_keys text[], d_statuses text[], d_payloads bytea[], d_seqs bigint[],
    d_clocks bigint[], d_ordinals bigint[],
    v_runs uuid[], v_ids uuid[], v_seqs bigint[], v_clocks bigint[],
    o_ids uuid[], o_actions text[], o_payloads bytea[], o_dues bigint[], o_wakes bigint[], o_runs uuid[], o_seqs bigint[],
    o_clocks bigint[], o_tasks boolean[],
    x_runs uuid[], x_epochs integer[], x_keys text[], x_seqs bigint[], x_abandon boolean[],
    p_ids uuid[],
    q_queues text[], q_limit integer, q_poison_suspect boolean,
    l_ends integer[], r_tops smallint[], r_bottoms smallint[], r_from bigint[], r_to bigint[], q_look boolean
) returns table (
    tag text, queue_name text, worker_id uuid, ref uuid,
    -- as currant.claimed
    id uuid, lease bigint, kind text, function text, queue text, priority smallint, attempt integer, worker_losses integer,
    args bytea, options text, deadline bigint, parent_id uuid, step_key text, root_id uuid, epoch integer, wakes bigint,
    started bigint, fresh boolean, poison_suspect boolean, ready_xid bigint
) language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_build text := (select coalesce(w.build, '') from currant.workers w where w.id = p_worker);
    refused uuid[];
    done uuid[];
    had_permit boolean;     -- whether one of the executions written for has a permit of its function
    more uuid[];
    ended uuid[] := array(select u.id from unnest(o_ids, o_actions) u(id, action) where u.action in ('complete', 'fail', 'cancel'));
    over uuid[] := '{}';    -- the workflows among them: only these have children
    parents uuid[] := '{}'; -- who waits for them
    cancelled uuid[] := '{}';
    dropped uuid[] := '{}';
    news uuid[] := '{}';    -- what has ended and was not delivered in this batch: for their parents
    again uuid[] := '{}';   -- workflows that start anew: a fresh history, nothing of the failed one goes on
    v_rules currant.rule[];
    v_queues text[] := k_queues;
    v_now timestamptz := clock_timestamp();
    v_xid bigint;
    v_held_back boolean[];  -- calls whose children do not start at once
    xids bigint[];          -- the claims of what has ended or gone back
    started uuid[];         -- the children that started here
begin
    -- 0. The outcomes of tasks that nobody waits for, and nothing else, as in a drain: one statement locks, compares and writes.
    if cardinality(f_ids) > 0 and cardinality(f_parents) = 0 and f_ids = o_ids and true = all (o_tasks) and o_actions <@ array['complete', 'fail']
        and cardinality(c_ids) = 0 and cardinality(s_runs) = 0 and cardinality(d_runs) = 0 and cardinality(v_ids) = 0 and cardinality(x_runs) = 0
        and cardinality(p_ids) = 0
    then
        with written as (
            update currant.executions e set
                state = o.next,
                defined_state = case when e.defined then o.next end,
                finished_at = clock_timestamp(),
                defined_end = case when e.defined then clock_timestamp() end,
                open_schedule = null,
                suspect_losses = 0, loss_suspected = false, poison_suspect = false,
                result = case when o.next = 'completed' then o.payload end,
                error = case when o.next = 'failed' then coalesce(o.payload, e.error) else e.error end
            from (
                select u.id, u.lease, u.payload, case u.action when 'complete' then 'completed' else 'failed' end as next
                from unnest(f_ids, f_leases, o_actions, o_payloads) u(id, lease, action, payload) order by u.id) o
            where e.id = o.id and e.lease = o.lease and e.worker_id = p_worker and e.state = 'running'
            returning e.id, e.claim_xid, e.has_permit)
        select coalesce(array_agg(w.id), '{}'), coalesce(array_agg(w.claim_xid), '{}'), coalesce(bool_or(w.has_permit), false)
        into done, xids, had_permit from written w;
        perform currant.end_claims(p_worker, xids);
        if cardinality(done) < cardinality(f_ids) then
            return query select 'refused', null::text, null::uuid, f.id, (null::currant.claimed).* from unnest(f_ids, f_leases) f(id, lease)
                where not f.id = any (done) and not exists (
                    select 1 from currant.executions e
                    where e.id = f.id and e.lease = f.lease and e.worker_id = p_worker and e.finished_at is not null);
        end if;
        if had_permit then
            return query select w.tag, w.queue, w.worker_id, w.id, (null::currant.claimed).* from currant.wake_waiting(done) w;
        end if;
        f_ids := '{}';  -- all is written
    end if;
    if cardinality(f_ids) > 0 then
        -- 1. Which rows this concerns: the workflows that end or start anew, the parents of what ends, the children to cancel.
        if not true = all (o_tasks) then
            -- Neither changes while the lease is this worker's; if it is another's, everything here is refused.
            select coalesce(array_agg(e.id) filter (where e.kind = 'workflow' and o.action in ('complete', 'fail', 'cancel')), '{}'),
                coalesce(array_agg(e.id) filter (where e.kind = 'workflow' and o.action = 'retry'), '{}'),
                coalesce(array_agg(e.parent_id) filter (where e.parent_id is not null and o.action in ('complete', 'fail', 'cancel')), '{}')
            into over, again, parents from unnest(o_ids, o_actions, o_tasks) o(id, action, of_task)
                join currant.executions e on e.id = o.id
            where not o.of_task;
        end if;
        if cardinality(x_runs) > 0 or cardinality(over || again) > 0 then
            cancelled := array(  -- lateral: never a join that reads all children there are
            select step.id from unnest(x_runs, x_epochs, x_keys) x(run, epoch, key) cross join lateral (
                select e.id from currant.executions e
                where e.parent_id = x.run and e.parent_epoch = x.epoch and e.step_key = x.key offset 0) step
            union
            select left_behind.id from unnest(over || again) run(id) cross join lateral (
                select e.id from currant.executions e
                where e.parent_id = run.id and e.state in ('pending', 'running', 'suspended') offset 0) left_behind);
        end if;
        if cardinality(cancelled) > 0 then
            parents := parents || array(
                select p.parent_id from currant.executions p where p.id = any (cancelled) and p.parent_id is not null);
        end if;
        -- 2. Locks and leases: what is refused, with all that follows from it.
        -- Everything that may be written, in id order: with the parents of what ends, which may have to be woken. A full join reads,
        -- and so locks, all of it.
        select coalesce(array_agg(f.id) filter (where f.id is not null and (
                    e.id is null or e.lease <> f.lease or e.worker_id is distinct from p_worker
                    or (e.state <> 'running' and e.finished_at is null))), '{}'),
               coalesce(array_agg(f.id) filter (where e.lease = f.lease and e.worker_id = p_worker and e.finished_at is not null), '{}'),
               coalesce(bool_or(e.has_permit) filter (where f.id is not null), false)
        into refused, done, had_permit
        from unnest(f_ids, f_leases) f(id, lease) full join (
            select e.id, e.lease, e.worker_id, e.state, e.finished_at, e.has_permit from currant.executions e
            where e.id = any (f_ids || f_parents || v_ids || cancelled || parents)
            order by e.id for update) e on e.id = f.id;
        if cardinality(v_ids) > 0 or cardinality(array_remove(o_runs, null)) > 0 then
            loop  -- a run that went on from an outcome which is refused, now or before, is refused as well
                more := array(
                    select u.run from unnest(o_ids, o_runs) u(id, run)
                    where u.run is not null and u.id = any (refused) and not u.run = any (refused)
                    union
                    select v.run from unnest(v_runs, v_ids) v(run, id) join currant.executions e on e.id = v.id
                    where not v.run = any (refused)
                        and (v.id = any (refused) or (e.finished_at is null and not v.id = any (ended))));
                exit when cardinality(more) = 0;
                refused := refused || more;
            end loop;
        end if;
        tag := 'refused';
        foreach ref in array refused loop return next; end loop;
        refused := refused || done;
        again := array(select u.id from unnest(again) u(id) where not u.id = any (refused));

        -- 3. Children and detached executions.
        if cardinality(c_ids) > 0 then
            v_xid := currant.xid();
            v_rules := currant.rules(k_functions);
            if cardinality(v_rules) > 0 then
                select array_agg(u.queue order by u.place), array_agg(u.held_back order by u.place) into v_queues, v_held_back from (
                    select k.place, currant.ruled(k.given, 'queue', d.queue, k.queue) as queue,
                        currant.holds_back(d, k.queue, k.priority, k.options::jsonb, k.given) as held_back
                    from unnest(k_functions, k_queues, k_priorities, k_options, k_given)
                        with ordinality k(function, queue, priority, options, given, place)
                    left join unnest(v_rules) d on d.function = k.function) u;
            end if;
            with made as (insert into currant.executions (
                id, root_id, parent_id, parent_epoch, step_key, after_seq, kind, function, queue, priority, args, options, run_at,
                state, worker_id, lease, attempt, started_at, attempt_at, claim_xid, build, deadline, defined, defined_state, has_permit, awaiting_permit, ready_xid, created_at, ready_at)
            select c.id, c.root, c.parent, case when c.parent is not null then c.epoch end,
                case when c.parent is not null then c.key end, case when c.parent is not null then c.after end,
                k.kind, k.function, k.queue, currant.ruled(k.given, 'priority', d.priority, k.priority), c.args,
                currant.ruled_options(k.given, d.options, k.options),
                currant.from_micros(c.run_at), case when go.eager then 'running' else 'pending' end,
                case when go.eager then p_worker end, go.eager::integer, go.eager::integer,
                case when go.eager then v_now end, case when go.eager then v_now end, case when go.eager then v_xid end, case when go.eager then v_build end,
                case when go.eager and k.kind = 'workflow' then v_now + currant.option(k.kind, k.options, '{timeout}')::double precision * interval '1 second' end,
                d.function is not null, case when d.function is null then null when go.eager then 'running' else 'pending' end,
                d.function is not null and go.eager, coalesce(d.limited, false) and c.run_at is null,
                case when not go.eager and c.run_at is null then v_xid end, v_now, v_now
            from unnest(c_runs, c_ids, c_roots, c_parents, c_epochs, c_keys, c_after, c_args, c_run_ats, c_eager, c_calls)
                c(run, id, root, parent, epoch, key, after, args, run_at, eager, call)
            join (
                select x.kind, x.function, x.queue, x.priority, x.options::jsonb as options, x.given, x.held_back, x.place
                from unnest(k_kinds, k_functions, v_queues, k_priorities, k_options, k_given, v_held_back) with ordinality
                    x(kind, function, queue, priority, options, given, held_back, place)
                offset 0) k on k.place = c.call
            left join unnest(v_rules) d on d.function = k.function
            cross join lateral (select c.eager and k.held_back is not true as eager) go
            -- Only the holder of the lock on the run's row writes its children: a child that does not exist now is not inserted meanwhile. `on
            -- conflict` would search each index first, and write a second WAL record for each row.
            where not c.run = any (refused) and not exists (select 1 from currant.executions e where e.id = c.id offset 0)
            returning executions.id, executions.state)
            select array_agg(made.id) into started from made where made.state = 'running';
            if cardinality(started) > 0 then perform currant.add_claim(p_worker, v_xid, started); end if;
            if cardinality(v_rules) > 0 then  -- read from what is there: this batch may have been written before
                return query select 'postponed', null::text, null::uuid, e.id, (null::currant.claimed).*
                    from unnest(c_runs, c_ids, c_eager) c(run, id, eager) join currant.executions e on e.id = c.id
                    where c.eager and not c.run = any (refused) and (e.lease = 0 or e.worker_id is distinct from p_worker);
            end if;
        end if;

        -- 4. Steps, and outcomes of steps with the signals that they consume.
        if cardinality(s_runs) > 0 then
            insert into currant.steps (execution_id, epoch, key, kind, name, due_at, after_seq, status, payload, request, seq, clock,
                finished_at)
            select s.run, s.epoch, s.key, s.kind, s.name, currant.from_micros(s.due), s.after, s.status,
                case when s.kind not in ('verb', 'detach') then s.payload end,
                case when s.kind in ('verb', 'detach') then s.payload end, s.seq, s.clock,
                case when s.status is not null then clock_timestamp() end
            from unnest(s_runs, s_epochs, s_keys, s_kinds, s_names, s_dues, s_after, s_statuses, s_payloads, s_seqs, s_clocks)
                s(run, epoch, key, kind, name, due, after, status, payload, seq, clock)
            where not s.run = any (refused)
            on conflict do nothing;
        end if;

        if cardinality(d_runs) > 0 then
            update currant.steps s set status = d.status, payload = d.payload, seq = d.seq, clock = d.clock, finished_at = clock_timestamp()
            from unnest(d_runs, d_epochs, d_keys, d_statuses, d_payloads, d_seqs, d_clocks) d(run, epoch, key, status, payload, seq, clock)
            where s.execution_id = d.run and s.epoch = d.epoch and s.key = d.key and not d.run = any (refused);

            update currant.signals g set consumed_by = d.key, consumed_epoch = d.epoch
            from unnest(d_runs, d_epochs, d_keys, d_ordinals) d(run, epoch, key, ordinal)
            where g.execution_id = d.run and g.ordinal = d.ordinal and not d.run = any (refused);
        end if;

        -- 5. Progress: a run that made some is no poison suspect any more.
        if cardinality(p_ids) > 0 then
            update currant.executions e set
                progress_lease = e.lease, suspect_losses = 0, loss_suspected = false, poison_suspect = false
            where e.id = any (p_ids) and not e.id = any (refused)
                and (e.progress_lease is distinct from e.lease or e.loss_suspected);  -- once a lease
        end if;

        -- 6. Outcomes of executions, then the numbers of outcomes that were delivered.
        if cardinality(o_ids) > 0 then
            with written as (update currant.executions e set
                state = o.next,
                defined_state = case when e.defined then o.next end,
                suspended_at = case when o.next = 'suspended' then clock_timestamp() end,
                finished_at = case when o.ends then clock_timestamp() end,
                defined_end = case when o.ends and e.defined then clock_timestamp() end,
                open_schedule = case when not o.ends then e.open_schedule end,
                -- A finished row keeps its lease: "already done under my lease" is success (rule f).
                lease = e.lease + (not o.ends)::integer,
                attempt = e.attempt - (case when o.action in ('handback', 'suspend', 'hold') then 1 else 0 end),
                -- An attempt that ended by itself killed nobody.
                suspect_losses = case when o.action in ('handback', 'hold') then e.suspect_losses else 0 end,
                loss_suspected = o.action in ('handback', 'hold') and e.loss_suspected,
                poison_suspect = o.action in ('handback', 'hold') and e.poison_suspect,
                run_at = o.run_at,
                ready_at = case when o.ends then e.ready_at else clock_timestamp() end,
                ready_xid = case when o.next = 'pending' and o.run_at is null then currant.xid() end,
                result = case when o.action = 'complete' then o.payload end,
                error = case when o.action in ('fail', 'retry', 'hold', 'handback') then coalesce(o.payload, e.error) else e.error end,
                incompatible = o.action = 'hold',
                -- A workflow starts anew, with a new time-out and clock; signals are its input, so it gets them again.
                epoch = e.epoch + (e.id = any (again))::integer,
                started_at = case when not e.id = any (again) then e.started_at end,
                deadline = case when not e.id = any (again) then e.deadline end,
                refused_builds = case when o.action = 'hold' then array_append(array_remove(e.refused_builds, v_build), v_build)
                    else e.refused_builds end,
                seq = case when o.run is null or o.run = any (refused) then e.seq else o.seq end,
                clock = case when o.run is null or o.run = any (refused) then e.clock else o.clock end
            from (
                select u.*, u.action in ('complete', 'fail', 'cancel') as ends,
                    case u.action when 'complete' then 'completed' when 'fail' then 'failed' when 'cancel' then 'cancelled'
                        when 'suspend' then case when w.woken then 'pending' else 'suspended' end
                        when 'hold' then 'suspended' else 'pending' end as next,
                    case when u.action in ('retry', 'handback') or (u.action = 'suspend' and not w.woken) then currant.from_micros(u.due) end as run_at
                from unnest(o_ids, o_actions, o_payloads, o_dues, o_wakes, o_runs, o_seqs, o_clocks)
                    u(id, action, payload, due, wakes, run, seq, clock)
                left join lateral (  -- whether anything has come for a run that is to be suspended
                    select coalesce(x.wakes <> u.wakes, currant.has_news(x.id)) as woken from currant.executions x
                    where u.action = 'suspend' and x.id = u.id offset 0) w on true
                ) o
            where e.id = o.id and not o.id = any (refused)
            returning e.claim_xid)
            select coalesce(array_agg(written.claim_xid), '{}') into xids from written;
            perform currant.end_claims(p_worker, xids);
        end if;
        -- This comes after the outcomes, because a child may have ended in this very batch.
        if cardinality(v_ids) > 0 then
            update currant.executions e set seq = v.seq, clock = v.clock
            from unnest(v_runs, v_ids, v_seqs, v_clocks) v(run, id, seq, clock)
            where e.id = v.id and e.finished_at is not null and not v.run = any (refused);
        end if;
        if cardinality(again) > 0 then
            update currant.signals g set consumed_by = null, consumed_epoch = null where g.execution_id = any (again);
        end if;

        -- 7. Cancels: steps that are no longer waited for, and what an ended run leaves behind, top-down.
        if cardinality(x_runs) > 0 then
            update currant.steps s set abandoned = x.seq from unnest(x_runs, x_epochs, x_keys, x_seqs, x_abandon) x(run, epoch, key, seq, abandon)
            where s.execution_id = x.run and s.epoch = x.epoch and s.key = x.key and s.seq is null and x.abandon and not x.run = any (refused);
            update currant.executions e set abandoned = x.seq from unnest(x_runs, x_epochs, x_keys, x_seqs, x_abandon) x(run, epoch, key, seq, abandon)
            where e.parent_id = x.run and e.parent_epoch = x.epoch and e.step_key = x.key and e.seq is null and x.abandon
                and not x.run = any (refused);
        end if;
        if cardinality(x_runs) > 0 or cardinality(over || again) > 0 then
            dropped := array(
                select step.id from unnest(x_runs, x_epochs, x_keys) x(run, epoch, key) cross join lateral (
                    select e.id, e.cancel_requested, e.finished_at from currant.executions e
                    where e.parent_id = x.run and e.parent_epoch = x.epoch and e.step_key = x.key offset 0) step
                where not x.run = any (refused) and not step.cancel_requested and step.finished_at is null
                union
                select left_behind.id from unnest(over || again) run(id) cross join lateral (
                    select e.id from currant.executions e where e.parent_id = run.id
                        and e.state in ('pending', 'running', 'suspended') and not e.cancel_requested offset 0) left_behind
                where not run.id = any (refused));
        end if;
        if cardinality(dropped) > 0 then
            return query select w.tag, w.queue, w.worker_id, w.id, (null::currant.claimed).* from currant.cancel_rows(dropped) w;
        end if;
        -- 8. Wakes: parents, executions that await a permit, workers that sleep.
        -- The runs that wait for what ended here and was not delivered, or for a step that the cancel ended at once.
        if cardinality(f_parents || parents || dropped) > 0 then
            news := dropped || array(
                select u.id from unnest(o_ids, o_actions, o_runs) u(id, action, run)
                where u.action in ('complete', 'fail', 'cancel') and not u.id = any (refused)
                    and (u.run is null or u.run = any (refused)));
        end if;
        if cardinality(news) > 0 then
            return query select w.tag, w.queue, w.worker_id, w.id, (null::currant.claimed).* from currant.wake_parents(news) w;
        end if;
        if (had_permit and cardinality(ended) > 0) or cardinality(dropped) > 0 then
            return query select w.tag, w.queue, w.worker_id, w.id, (null::currant.claimed).* from currant.wake_waiting(ended || dropped) w;
        end if;
        -- The queues of what is ready now or becomes due later: `wake` finds the workers that would sleep too long.
        if o_actions && array['retry', 'handback', 'suspend', 'hold'] then
            return query select distinct 'queue', e.queue, null::uuid, null::uuid, (null::currant.claimed).* from currant.executions e
                where e.id = any (o_ids) and (e.state = 'pending' or (e.state = 'suspended' and e.run_at is not null));
        end if;
        if cardinality(c_ids) > 0 then
            return query select distinct 'queue', k.queue, null::uuid, null::uuid, (null::currant.claimed).*
                from unnest(c_eager, c_calls) c(eager, call) join unnest(v_queues, v_held_back) with ordinality k(queue, held_back, place)
                    on k.place = c.call
                where not c.eager or k.held_back;
        end if;
        if cardinality(c_ids || f_parents || parents || dropped) > 0 or o_actions && array['retry', 'handback', 'suspend', 'hold'] then
            tag := 'since'; ref := null; lease := currant.xid();
            return next;
        end if;
    end if;
    -- 9. The claim.
    if q_limit > 0 then
        return query select case when r.id is not null then 'claimed' when r.queue is not null then 'range' else 'slow' end,
                null::text, null::uuid, r.id, r.*
            from currant.claim(p_worker, q_queues, q_limit, q_poison_suspect, l_ends, r_tops, r_bottoms, r_from, r_to, q_look) r;
    end if;
end $$;
