-- The executions of p_ids on whose rows a session has a lock at this moment; for those of p_ending, also on the row of an unfinished child. This is a
-- function because the role of workers has no right to lock rows itself.
create or replace function currant.locked_rows(p_ids uuid[], p_ending uuid[]) returns setof uuid language sql as $$
    with touched as (
        select e.id, e.id as by from currant.executions e where e.id = any (p_ids)
        union all
        select e.id, e.parent_id from currant.executions e where e.parent_id = any (p_ending) and e.finished_at is null
    ), free as (
        select e.id from currant.executions e where e.id in (select t.id from touched t) for update skip locked
    )
    select distinct t.by from touched t where not exists (select 1 from free f where f.id = t.id)
$$;
