-- Notes that mark_runs has marked all executions of these functions (who has a permit, who awaits one). From now on the number of permits is
-- the concurrency limit; before, it is 0, so that no execution of them starts.
create or replace function currant.runs_are_marked(p_functions text[]) returns void language sql as $$
    update currant.definitions d set runs_marked = true where d.function = any (p_functions) and not d.runs_marked
$$;
