-- The options of an execution of this kind that stores none. They are part of the stored form, so a later release does not change them: whoever wants
-- other values gives them. core/src/base/types/call.rs has the same values (a test compares).
create or replace function currant.default_options(p_kind text) returns jsonb language sql immutable parallel safe as $$
    select case when p_kind = 'workflow' then '{
            "timeout": null, "max_worker_losses": 3,
            "retry": {"max_attempts": 1, "initial": 1, "multiplier": 2, "max_delay": 300, "jitter": 0.1, "non_retryable": []}}'::jsonb
        else '{
            "timeout": 300, "max_worker_losses": 3,
            "retry": {"max_attempts": 4, "initial": 1, "multiplier": 2, "max_delay": 300, "jitter": 0.1, "non_retryable": []}}'::jsonb end
$$;
