-- The options that are stored as callers give them, by their paths, and the values that each may have: a number from `minimum` to `maximum`, or a list of
-- names. `whole`: true for a number that is refused with a fraction, false for one that loses it. `above`: more than `minimum`. `nullable`: null is a
-- value (none). Python and Rust have the same names and ranges (tests compare).
create or replace function currant.known_options()
returns table (path text[], type text, minimum numeric, maximum numeric, whole boolean, above boolean, nullable boolean) language sql immutable as $$
    values ('{timeout}'::text[], 'number', 0::numeric, null::numeric, null::boolean, true, true),
        ('{max_worker_losses}', 'number', 0, 1000000, true, false, false),
        ('{retry,max_attempts}', 'number', 1, 1000000, false, false, false),
        ('{retry,initial}', 'number', 0, null, null, false, false),
        ('{retry,multiplier}', 'number', 1, null, null, false, false),
        ('{retry,max_delay}', 'number', 0, null, null, false, false),
        ('{retry,jitter}', 'number', 0, 1, null, false, false),
        ('{retry,non_retryable}', 'names', null, null, null, false, false)
$$;
