-- The value of an option for a call: the definition of its function outranks the call, unless the caller itself chose the option.
-- p_given: the options that the caller chose, as bits (create_executions lists them); p_option: the bit of this option. The planner inlines this.
create or replace function currant.ruled(p_given integer, p_option integer, p_definition anyelement, p_call anyelement)
returns anyelement language sql immutable parallel safe as
$$ select coalesce(case when p_given & p_option = 0 then p_definition end, p_call) $$;
