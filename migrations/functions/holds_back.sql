-- Whether a child whose function has this definition does not start at once where its parent runs: it may have to await a permit, or
-- the definition has other options than its call.
create or replace function currant.holds_back(d currant.rule, p_queue text, p_priority smallint, p_timeout double precision, p_given integer)
returns boolean language sql immutable as $$
    select ((d).limited or (p_given & 1 = 0 and (d).queue <> p_queue) or (p_given & 2 = 0 and (d).priority <> p_priority)
        or (p_given & 4 = 0 and (d).timeout is not null and (d).timeout is distinct from p_timeout)
        or (p_given & 8 = 0 and num_nonnulls((d).max_attempts, (d).retry_initial, (d).retry_multiplier, (d).retry_max_delay,
            (d).retry_jitter, (d).non_retryable) > 0)
        or (p_given & 16 = 0 and (d).max_worker_losses is not null)) is true
$$;
