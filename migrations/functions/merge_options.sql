-- Options, of which p_over outranks p_under. The parts of `retry` are merged one by one. The planner inlines this.
create or replace function currant.merge_options(p_under jsonb, p_over jsonb) returns jsonb language sql immutable parallel safe as $$
    select coalesce(p_under, '{}') || case when p_under ? 'retry' and p_over ? 'retry'
        then jsonb_set(p_over, '{retry}', (p_under -> 'retry') || (p_over -> 'retry')) else coalesce(p_over, '{}') end
$$;
