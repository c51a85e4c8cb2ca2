-- The value of an option for a call: the definition of its function outranks the call, unless the caller itself chose the option.
-- p_given: the names of the options that the caller chose, with commas between them. The planner inlines this.
create or replace function currant.ruled(p_given text, p_option text, p_definition anyelement, p_call anyelement)
returns anyelement language sql immutable parallel safe as
$$ select coalesce(case when p_option = any (string_to_array(p_given, ',')) then p_call else p_definition end, p_call) $$;
