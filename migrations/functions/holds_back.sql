-- Whether a child whose function has this definition does not start at once where its parent runs: it may have to await a permit, or
-- the definition gives it other options than its call.
create or replace function currant.holds_back(d currant.rule, p_queue text, p_priority smallint, p_options jsonb, p_given text)
returns boolean language sql immutable as $$
    select (d).limited or currant.ruled(p_given, 'queue', (d).queue, p_queue) <> p_queue
        or currant.ruled(p_given, 'priority', (d).priority, p_priority) <> p_priority
        or currant.ruled_options(p_given, (d).options, p_options) is distinct from p_options
$$;
