-- The executions of these functions are all marked: from now on their limits are counted.
create or replace function currant.runs_are_marked(p_functions text[]) returns void language sql as $$
    update currant.definitions d set runs_marked = true where d.function = any (p_functions) and not d.runs_marked
$$;
