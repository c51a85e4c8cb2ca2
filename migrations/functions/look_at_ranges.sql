-- Looks at what is ready in the ranges of one priority; the rows are those of the answer of `claim`. Nothing is locked: what another transaction has claimed and not
-- committed counts as ready, because that claim may be undone. The settings are those of the function that calls it.
create or replace function currant.look_at_ranges(
    p_queues text[], l_ends integer[], r_tops smallint[], r_bottoms smallint[], r_from bigint[], r_to bigint[]
) returns setof currant.claimed language sql stable as $$
    select null::uuid, r_from[i], null, null, l.queue, r_tops[i], null::integer, null::integer, null::bytea, pg_current_snapshot()::text,
        null::bigint, null::uuid, null, null::uuid, null::integer, null::bigint, null::bigint, null::boolean, null::boolean,
        (select e.ready_xid from currant.ready_executions e
            where e.queue = l.queue and e.priority = r_tops[i] and e.ready_xid between r_from[i] and r_to[i]
            order by e.ready_xid limit 1)
    from unnest(p_queues) with ordinality l(queue, place)
    cross join lateral generate_series(coalesce(l_ends[l.place::integer - 1], 0) + 1, l_ends[l.place::integer]) i
    where r_tops[i] = r_bottoms[i]
$$;
