-- Options without what is the default of the kind anyway; null if nothing is left.
create or replace function currant.unlike_defaults(p_kind text, p_options jsonb) returns jsonb language sql immutable parallel safe as $$
    select jsonb_object_agg(o.key, case when o.key <> 'retry' then o.value else (
            select jsonb_object_agg(r.key, r.value) from jsonb_each(o.value) r where r.value <> coalesce(d.options #> array['retry', r.key], 'null')) end)
    from jsonb_each(p_options) o, (select currant.default_options(p_kind) as options offset 0) d
    where o.value <> coalesce(d.options -> o.key, 'null') and (o.key <> 'retry' or exists (
        select 1 from jsonb_each(o.value) r where r.value <> coalesce(d.options #> array['retry', r.key], 'null')))
$$;
