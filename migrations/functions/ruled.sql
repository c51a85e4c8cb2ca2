-- A call's option as it counts: what the definition of its function says outranks what the call says, unless the call was given the option itself.
-- p_given: the options that the call was given, as bits (create_executions lists them); p_option: the bit of this one. The planner puts it in line.
create or replace function currant.ruled(p_given integer, p_option integer, p_definition anyelement, p_call anyelement)
returns anyelement language sql immutable parallel safe as
$$ select coalesce(case when p_given & p_option = 0 then p_definition end, p_call) $$;
