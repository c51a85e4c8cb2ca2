-- How many more executions of a function may start now, at most p_most: its permits minus the executions that have started and not ended.
create or replace function currant.free_permits(p_function text, p_most bigint) returns bigint language sql stable as $$
    select coalesce((
        select least(p_most, greatest(0, d.permits - (select count(*) from (
            select 1 from currant.executions e
            where e.defined and e.function = p_function and e.defined_state in ('pending', 'running', 'suspended') and e.has_permit limit d.permits) with_permit)))
        from currant.definitions d where d.function = p_function and d.permits is not null), p_most)
$$;
