-- Deletes runs, each with its whole tree, that ended longer ago than the retention of their function or else of their queue: at most p_limit of either
-- kind. With p_begin it does nothing unless a minute has passed since any worker last began. A tree that is locked in part, or has something
-- unfinished in it, is left for another time. `more`: there is more to do now.
create or replace function currant.sweep(p_limit integer, p_begin boolean, out deleted integer, out more boolean) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    v_roots uuid[];
    v_old uuid[];
    v_tops uuid[];
    v_below uuid[]; -- and what each of v_tops has below it
    v_steps uuid[];
    v_keyed uuid[];
    v_kept uuid[];
    v_tree uuid[];
begin
    deleted := 0;
    more := false;
    if p_begin then
        perform 1 from currant.upkeep u where u.swept_at < clock_timestamp() - interval '1 minute' for update skip locked;
        if not found then return; end if;
        update currant.upkeep set swept_at = clock_timestamp();
    end if;
    v_roots := array(
        select old.id from currant.definitions d
        cross join unnest(array['completed', 'failed', 'cancelled']) ended(state) cross join unnest(array[true, false]) had(has_permit)
        cross join lateral (
            select e.id from currant.executions e
            where e.defined and e.function = d.function and e.defined_state = ended.state and e.has_permit = had.has_permit and (e.parent_id is null)
                and e.defined_end < now() - d.retention * interval '1 second'
                and not exists (select 1 from currant.below(array[e.id]) b where not b.finished)
            order by e.defined_end limit p_limit for update skip locked
        ) old
        where d.retention is not null limit p_limit);
    select p.ids, p.more into v_old, more from currant.past_queue_retention(p_limit) p;
    more := more or cardinality(v_roots) = p_limit;
    v_roots := v_roots || array(
        select e.id from currant.executions e
        where e.id = any (v_old) and e.finished_at is not null
            and not exists (select 1 from currant.below(array[e.id]) b where not b.finished)
        for update skip locked);
    select coalesce(array_agg(b.top), '{}'), coalesce(array_agg(b.id), '{}') into v_tops, v_below from currant.below(v_roots) b;
    v_steps := array(select e.id from currant.executions e where e.id = any (v_below) for update skip locked);
    v_kept := array(select distinct b.top from unnest(v_tops, v_below) b(top, id) where not b.id = any (v_steps));
    -- A session that has locked a key may lock its execution next. Keys come before executions in the order of locks, so this waits for no key.
    v_keyed := array(select k.execution_id from currant.idempotency_keys k where k.execution_id = any (v_roots) for update skip locked);
    v_kept := v_kept || array(
        select k.execution_id from currant.idempotency_keys k
        where k.execution_id = any (v_roots) and not k.execution_id = any (v_keyed));
    v_roots := array(select r.id from unnest(v_roots) r(id) where not r.id = any (v_kept));
    v_tree := v_roots || array(select b.id from unnest(v_tops, v_below) b(top, id) where not b.top = any (v_kept));
    delete from currant.signals g where g.execution_id = any (v_tree);
    delete from currant.steps s where s.execution_id = any (v_tree);
    delete from currant.idempotency_keys k where k.execution_id = any (v_roots);
    delete from currant.executions e where e.id = any (v_tree);
    deleted := cardinality(v_roots);
end $$;
