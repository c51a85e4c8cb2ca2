-- One option of an execution, as text, by its path: '{timeout}', '{retry,max_attempts}'. Null: none. The planner inlines this.
create or replace function currant.option(p_kind text, p_options jsonb, p_path text[]) returns text language sql immutable parallel safe as $$
    select case when p_options #> p_path is null then currant.default_options(p_kind) #>> p_path else p_options #>> p_path end
$$;
