-- All executions below these, by way of the index of steps.
create or replace function currant.below(p_ids uuid[]) returns table (top uuid, id uuid, finished boolean) language sql stable as $$
    with recursive tree as (
        select p.id as top, p.id, true as finished, false as is_below from unnest(p_ids) p(id)
        union all
        select t.top, child.id, child.finished_at is not null, true from tree t cross join lateral (
            select e.id, e.finished_at from currant.executions e where e.parent_id = t.id offset 0) child)
    select t.top, t.id, t.finished from tree t where t.is_below
$$;
