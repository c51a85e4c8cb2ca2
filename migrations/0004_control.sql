-- What people and programs ask of executions that are there: signal, cancel, resume, retry. Order of locks as in 0003_worker.

-- Wakes runs by hand: a suspended one becomes ready, one in a worker's memory looks again.
create function currant.resume(p_ids uuid[]) returns table (id uuid, queue text, worker_id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
begin
    perform 1 from currant.executions e where e.id = any (p_ids) order by e.id for update;
    return query update currant.executions e set
        wakes = e.wakes + 1,
        run_at = case when e.state = 'suspended' and not e.held then null else e.run_at end,
        ready_at = case when e.state = 'suspended' and not e.held then clock_timestamp() else e.ready_at end,
        ready_xid = case when e.state = 'suspended' and not e.held then currant.xid() else e.ready_xid end,
        state = case when e.state = 'suspended' and not e.held then 'pending' else e.state end
    where e.id = any (p_ids) and e.kind = 'workflow' and e.finished_at is null
    returning e.id, e.queue, case when e.state = 'running' then e.worker_id end;
end $$;

-- Signals. `status`: ok, unknown, finished. Ordered by a counter that is taken under the run's row lock (rule m).
create function currant.signal_send(p_id uuid, p_name text, p_payload bytea, p_dedup_key text)
returns table (status text, queue text, worker_id uuid) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    run currant.executions;
begin
    select * into run from currant.executions e where e.id = p_id for update;
    if not found then
        status := 'unknown';
    elsif p_dedup_key is not null and exists (select 1 from currant.signals g where g.execution_id = p_id and g.dedup_key = p_dedup_key) then
        status := 'ok';
    elsif run.finished_at is not null or run.kind <> 'workflow' then
        status := 'finished';
    else
        insert into currant.signals (execution_id, ordinal, name, payload, dedup_key)
        values (p_id, run.signal_seq + 1, p_name, p_payload, p_dedup_key);
        update currant.executions e set
            signal_seq = e.signal_seq + 1, wakes = e.wakes + 1,
            run_at = case when e.state = 'suspended' and not e.held then null else e.run_at end,
            ready_at = case when e.state = 'suspended' and not e.held then clock_timestamp() else e.ready_at end,
            ready_xid = case when e.state = 'suspended' and not e.held then currant.xid() else e.ready_xid end,
            state = case when e.state = 'suspended' and not e.held then 'pending' else e.state end
        where e.id = p_id;
        status := 'ok';
        queue := case when run.state = 'running' then null else run.queue end;
        worker_id := case when run.state = 'running' then run.worker_id end;
    end if;
    return next;
end $$;

-- Everything below these executions, by way of the index of steps.
create function currant.below(p_ids uuid[]) returns table (top uuid, id uuid, finished boolean) language sql stable as $$
    with recursive tree as (
        select p.id as top, p.id, true as finished, false as is_below from unnest(p_ids) p(id)
        union all
        select t.top, child.id, child.finished_at is not null, true from tree t cross join lateral (
            select e.id, e.finished_at from currant.executions e where e.parent_id = t.id offset 0) child)
    select t.top, t.id, t.finished from tree t where t.is_below
$$;

-- Cancels an execution and, by way of its workflows, everything below it; p_force ends the whole tree without asking.
create function currant.cancel_tree(p_id uuid, p_force boolean)
returns table (status text, queues text[], workers uuid[], ids uuid[]) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    target currant.executions;
    tree uuid[] := array[p_id];
    grown uuid[];
begin
    queues := '{}'; workers := '{}'; ids := '{}';
    loop
        if p_force then
            grown := p_id || array(select b.id from currant.below(array[p_id]) b);
            exit when grown <@ tree and target.id is not null;
            tree := grown;
        end if;
        perform 1 from currant.executions e where e.id = any (tree || (select t.parent_id from currant.executions t where t.id = p_id))
            order by e.id for update;
        select * into target from currant.executions e where e.id = p_id;
        exit when not p_force or target.id is null;
    end loop;
    status := case when target.id is null then 'unknown' when target.finished_at is not null then 'finished' else 'ok' end;
    if status <> 'ok' then
        return next; return;
    end if;
    if p_force then
        -- By id first: by the index of what runs all that runs would be read, where that was little when this was planned.
        select coalesce(array_agg(e.worker_id), '{}'), coalesce(array_agg(e.id), '{}') into workers, ids
        from (select e.worker_id, e.id, e.state from currant.executions e where e.id = any (tree) offset 0) e where e.state = 'running';
        update currant.executions e set state = 'cancelled', finished_at = clock_timestamp(), lease = e.lease + 1, run_at = null,
            held = false, parked = false, cancel_requested = true
        where e.id = any (tree) and e.finished_at is null;
    else
        select coalesce(array_agg(w.queue) filter (where w.tag = 'queue'), '{}'), coalesce(array_agg(w.worker_id) filter (where w.tag = 'worker'), '{}'),
            coalesce(array_agg(w.id) filter (where w.tag = 'worker'), '{}')
        into queues, workers, ids from currant.cancel_rows(tree) w;
    end if;
    select queues || coalesce(array_agg(w.queue) filter (where w.tag = 'queue'), '{}'), workers || coalesce(array_agg(w.worker_id) filter (where w.tag = 'worker'), '{}'),
        ids || coalesce(array_agg(w.id) filter (where w.tag = 'worker'), '{}')
    into queues, workers, ids from (
        select * from currant.wake_parents(array[p_id]) union all select * from currant.wake_waiting(tree)) w;
    return next;
end $$;

-- A new epoch of a failed or cancelled run: its history up to the step that failed goes along, that step runs again.
create function currant.reopen(p_id uuid) returns void language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    run currant.executions;
    boundary bigint;
    child uuid;
begin
    select * into run from currant.executions e where e.id = p_id for update;
    if run.kind = 'workflow' then
        select least(
            (select max(e.seq) from currant.executions e where e.parent_id = p_id and e.parent_epoch = run.epoch and e.state = 'failed'),
            (select min(s.seq) from currant.steps s where s.execution_id = p_id and s.epoch = run.epoch and s.kind in ('cancel', 'timeout')))
        into boundary;
        boundary := coalesce(boundary, 9223372036854775807);
        update currant.signals g set consumed_by = null, consumed_epoch = null
        from currant.steps s where g.execution_id = p_id and s.execution_id = p_id and s.epoch = run.epoch
            and g.consumed_epoch = run.epoch and s.key = g.consumed_by and s.after_seq >= boundary;
        update currant.signals g set consumed_epoch = run.epoch + 1 where g.execution_id = p_id and g.consumed_epoch = run.epoch;
        update currant.steps s set epoch = run.epoch + 1,
            seq = case when s.seq < boundary then s.seq end, clock = case when s.seq < boundary then s.clock end,
            abandoned = case when s.abandoned < boundary then s.abandoned end
        where s.execution_id = p_id and s.epoch = run.epoch and s.after_seq < boundary and s.kind not in ('cancel', 'timeout');
        update currant.executions e set parent_epoch = run.epoch + 1,
            seq = case when e.seq < boundary then e.seq end, clock = case when e.seq < boundary then e.clock end,
            abandoned = case when e.abandoned < boundary then e.abandoned end
        where e.parent_id = p_id and e.parent_epoch = run.epoch and e.after_seq < boundary;
        for child in select e.id from currant.executions e where e.parent_id = p_id and e.parent_epoch = run.epoch + 1
            and e.seq is null and e.abandoned is null and e.state in ('failed', 'cancelled') order by e.id
        loop
            perform currant.reopen(child);
        end loop;
    end if;
    update currant.executions e set
        epoch = e.epoch + (case when e.kind = 'workflow' then 1 else 0 end), state = 'pending', lease = e.lease + 1, attempt = 0, worker_losses = 0, suspect_losses = 0, suspected = false,
        isolated = false, slot = false, result = null, error = null, finished_at = null, run_at = null, deadline = null,
        ready_at = clock_timestamp(), ready_xid = currant.xid(),
        cancel_requested = false, wakes = e.wakes + 1, refused_builds = null, progress_lease = null
    where e.id = p_id;
end $$;

create function currant.retry_run(p_id uuid) returns table (status text, queues text[]) language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    run currant.executions;
begin
    select * into run from currant.executions e where e.id = p_id for update;
    status := case when run.id is null then 'unknown' when run.parent_id is not null then 'not_root'
        when run.state not in ('failed', 'cancelled') then 'not_failed' else 'ok' end;
    if status = 'ok' then
        perform currant.reopen(p_id);
        queues := array(
            select run.queue union
            select e.queue from currant.executions e
            where e.id = any (array(select b.id from currant.below(array[p_id]) b where not b.finished)) and e.state = 'pending');
    end if;
    return next;
end $$;

-- For any language and any transaction: see currant.notify_later.
create function currant.signal(id uuid, name text, payload jsonb default 'null') returns void language plpgsql as $$
declare
    sent record;
begin
    select * into sent from currant.signal_send(id, name, convert_to(coalesce(payload, 'null')::text, 'UTF8'), null);
    if sent.status = 'unknown' then
        raise exception 'there is no execution %', id using errcode = 'no_data_found';
    elsif sent.status = 'finished' then
        raise exception 'execution % takes no signals: it has finished or is not a workflow', id using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform currant.notify_later(sent.queue, sent.worker_id, id);
end $$;

create function currant.cancel(id uuid, force boolean default false) returns void language plpgsql as $$
declare
    answer record;
begin
    select * into answer from currant.cancel_tree(id, force);
    if answer.status = 'unknown' then
        raise exception 'there is no execution %', id using errcode = 'no_data_found';
    elsif answer.status = 'finished' then
        raise exception 'execution % has already finished', id using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform currant.notify_later(lane, null, null) from unnest(answer.queues) lane;
    perform currant.notify_later(null, w.worker_id, w.id) from unnest(answer.workers, answer.ids) w(worker_id, id);
end $$;
