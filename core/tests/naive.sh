#!/usr/bin/env bash
# Shows that the store's tests fail without the rules that they are for: each line takes one out of the SQL (a function, a part of its
# text, what takes its place) and names a test that must fail then. Needs WORKFLOWS_TEST_DATABASE_URL; run it after a change of the SQL.
cd "$(dirname "$0")/.." || exit 1
failed=0
# The binary itself: cargo would look for changes before each of them.
binary=$(cargo test --locked --test store --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
tests=$("$binary" --list --format terse | sed -n 's/: test$//p')
while IFS=';' read -r what file test naive; do
    [ -n "$what" ] || continue
    named=$(grep "^$file::.*$test" <<<"$tests")
    if [ -z "$named" ]; then
        echo "OUT OF DATE  $what: there is no test $test in $file"
        failed=1
        continue
    fi
    # shellcheck disable=SC2086  # one name, or several
    output=$(CURRANT_TEST_NAIVE=$naive RUST_BACKTRACE=0 timeout 60 "$binary" --exact $named 2>&1)
    passed=$?
    if ! grep -q "running [1-9]" <<<"$output"; then
        echo "OUT OF DATE  $what: no test of $file ran"
        failed=1
    elif [ $passed = 0 ]; then
        echo "NOT NOTICED  $what: $test passes without it"
        failed=1
    elif grep -q "does not contain" <<<"$output"; then
        echo "OUT OF DATE  $what: $(grep -m1 'does not contain' <<<"$output")"
        failed=1
    else
        echo "noticed      $what: $test"
    fi
done <<'RULES'
b, a zombie's outcome;commits;outcomes_of_tasks_alone;commit_batch|and e.lease = o.lease and e.worker_id = p_worker and e.state = 'running'|
b, a zombie's outcome with more;commits;a_zombies_outcome;commit_batch|e.lease <> f.lease or e.worker_id is distinct from p_worker|false
b, what a claim took is noted;takeover;running_attempts_are_ready_again;mark_claimed|perform currant.add_claim(p_worker, v_xid, p_ids);|
b, what an eager step starts is noted;commits;the_next_step_of_a_run_leaves;commit_batch|perform currant.add_claim(p_worker, v_xid, started);|
b, a claim is over with its last;takeover;running_attempts_are_ready_again;end_claims|c.unended <= 0|true
b, a zombie's children;commits;a_zombies_outcome;commit_batch|where not c.run = any (refused)|where true
b, a next step of a run that is not ours;commits;a_next_step_under_a_lost_lease;commit_step|e.id = p_run and e.lease = p_lease|e.id = p_run
b, a next step after one that is not ours;commits;a_next_step_under_a_lost_lease;commit_step|e.lease = d_lease|true
b, a next step of a dead worker;commits;a_next_step_under_a_lost_lease;commit_step|v_ours < 2|v_ours < 0
b, what follows from a refused outcome;commits;a_refused_outcome;commit_batch|u.run is not null and u.id|false and u.id
b, what follows from a refused delivery;commits;keeps_its_number;commit_batch|v.id = any (refused) or|false or
a, the number of what ended in the same batch;commits;keeps_its_number;commit_batch|where e.id = v.id and e.finished_at is not null|where false and e.id = v.id
b, all rows are locked in order first;commits;locked_in_the_order;commit_batch|order by e.id for update|order by e.id limit 0
c, wakes against suspending;commits;woken_before_it_suspends;commit_batch|coalesce(x.wakes <> u.wakes, currant.has_news(x.id))|false
c, not by looking for signals;commits;waits_for_the_lock;commit_batch|coalesce(x.wakes <> u.wakes, currant.has_news(x.id))|false
c, a waiting run becomes pending;commits;suspended_parent_is_woken;wake_runs|case when w.waits then 'pending'|case when w.waits then 'suspended'
replay, what a verb asked for;commits;keep_what_they_asked_for;commit_batch|case when s.kind in ('verb', 'detach') then s.payload end|null
replay, what a child asked for;control;retry_opens_a_new_epoch;load_runs|case when not p_news then e.args end|null
d, a claim's plan;claims;is_read_by_a_claim;select_claimable|order by e.priority desc, e.ready_xid, e.id limit v_share|order by e.priority + 0 desc, e.ready_xid, e.id limit v_share
d, the first that is ready;floors;whatever_order;look_at_ranges|order by e.ready_xid limit 1|order by e.ready_xid desc limit 1
13, turns;claims;queues_take_turns;select_claimable|v_share := (p_limit + v_lanes - 1) / greatest(v_lanes, 1);|v_share := p_limit;
13, priority;claims;higher_priority_first;mark_claimed|order by array_position(p_queues, t.queue), t.priority desc, t.xid, t.id|order by t.id
e, sleepers only;wakes;only_workers_that_sleep;notify_sleepers|where p_queue = any (w.queues) and w.sleep_until > clock_timestamp()|where p_queue = any (w.queues)
e, as many as there is work for;wakes;as_many_workers_are_woken;notify_sleepers|limit p_most|limit 100
e, told once;wakes;as_many_workers_are_woken;notify_sleepers|set sleep_until = '-infinity'|set sleep_until = w.sleep_until
e, past what is due;wakes;only_workers_that_sleep;wake|e.run_at < v_until|e.run_at is not null
e, the flag;wakes;no_order_of_falling;heartbeat|coalesce(currant.from_micros(p_sleep_until), '-infinity')|'-infinity'
f, done under my lease;commits;recorded_once;commit_batch|e.worker_id = p_worker and e.finished_at is not null|false
g, the dead claim nothing;claims;declared_dead;select_claimable|and w.stopped_at is null and not w.pod_gone for key share|for key share
l, the key of what failed is free;enqueues;a_key_is_taken;take_key|e.state not in ('failed', 'cancelled')|true
l, the winner is looked up;enqueues;twenty_that_race;take_key|return held.execution_id|return null
m, signals by a counter under the lock;control;signals_sent_at_once;signal_send|where e.id = p_id for update|where e.id = p_id
9, suspended runs are not taken over;takeover;its_suspended_runs;running|x.state = 'running' and x.worker_id|x.finished_at is null and x.worker_id
9, bystanders;takeover;a_bystander;lose_worker|culprit is null or s.id = culprit|true
9, shared losses are not counted;takeover;losses_shared;lose_worker|(e.id is not distinct from culprit)::integer|ran.suspect::integer
9, suspects are isolated;takeover;losses_shared;lose_worker|ran.suspect and (e.loss_suspected or|ran.suspect and (false or
9, so many losses are tolerated;takeover;one_that_alone_loses;lose_worker|e.suspect_losses >= most.losses|e.suspect_losses + 1 >= most.losses
9, at most once;takeover;may_not_be_started_twice_ends;lose_worker|most.losses = 0 or|false or
9, at most once, at a good-bye;takeover;not_handed_back_by_a_good_bye;stop_worker|and e.kind = 'task' and currant.option('task', e.options, '{max_worker_losses}') = '0'|and false
9, a pod that was taken away is nobody's fault;fleet;not_blamed_for_a_pod;take_over_pod|p_reason in ('OOMKilled', 'Error')|true
9, worker lost;takeover;one_that_alone_loses;lose_worker|e.id = any (lost) then 'failed'|false then 'failed'
14, children of what ended;commits;leaves_no_child;commit_batch|and e.state in ('pending', 'running', 'suspended') and not e.cancel_requested|and false
S, a fire time has one run;schedules;a_fire_time_that_has_its_run;fire_schedules|continue when exists|continue when false and exists
S, one failure stops no other;schedules;a_schedule_that_fails;fire_schedules|exception when others|exception when division_by_zero
S, suspended ones do not fire;schedules;a_suspended_schedule;take_due_schedules|and not s.suspended and not s.definition_suspended|
S, suspended ones wake nobody;schedules;a_suspended_schedule;heartbeat|and not s.suspended and not s.definition_suspended|
S, what is replaced is cancelled;schedules;replace_cancels;fire_schedules|if decision."replace" then|if false then
S, what is no longer named goes;schedules;applying_keeps;apply_schedules|where s.function = p_function|where false
a pod has one worker;takeover;starts_in_the_pod;register_worker|if v_new and|if false and
a pod has one worker, of that pod;takeover;starts_in_the_pod;register_worker|w.pod_uid = p_pod_uid|true
a pod has one worker, once;takeover;share_a_pod;register_worker|if v_new and|if
a fleet is counted up to a bound;fleet;beyond_what_is_counted;fleet|limit 100000|limit 200000
incompatible runs are those of the pool's queues;fleet;that_do_not_fit_the_code;scaling|where e.queue = lane.queue and e.incompatible limit|where e.incompatible limit
limits, places are counted;definitions;never_more_have_started;free_permits|and e.has_permit limit|and false limit
limits, the gate is locked before it is counted;definitions;never_more_have_started;select_claimable|order by d.function for update|order by d.function
limits, a place is kept until the end;definitions;holds_its_place;free_permits|e.defined_state in ('pending', 'running', 'suspended')|e.defined_state = 'running'
limits, an end wakes who waits;definitions;holds_its_place;commit_batch|if (had_permit and cardinality(ended) > 0) or|if false and
limits, a cancel wakes too;definitions;a_cancel_and_a_lost_worker;cancel_tree|wake_waiting(tree)|wake_waiting('{}')
limits, a worker that is lost wakes too;definitions;a_cancel_and_a_lost_worker;lose_worker|currant.wake_waiting(lost)|currant.wake_waiting('{}')
limits, no claim for nothing;definitions;holds_its_place;heartbeat|g.free > 0|true
limits, sleepers hear of places only;definitions;are_told_when_there_is_a_place;wake|coalesce(sum(g.free), 0)|1
limits, what was ready before;definitions;suspended_starts_nothing_new;select_claimable|and c.function = any (v_limited) as needs_permit|and false as needs_permit
limits, what ran before;definitions;counts_what_ran_before;mark_runs|has_permit = e.has_permit or (not e.defined|has_permit = e.has_permit or (false
limits, a run that is retried starts anew;definitions;retried_as_a_run;reopen|has_permit = false, |
limits, eager steps;definitions;eager_steps_of_a_function;holds_back|(d).limited or |
limits, a next step waits for its place;commits;a_next_step_whose_function;commit_step|if v_defined and|if false and
limits, a next step's place is counted;commits;a_next_step_whose_function;commit_step|v_defined, v_now, v_now|false, v_now, v_now
limits, a next step passes the place on;commits;a_next_step_tells_those_who_wait;commit_step|if v_permit_of is not null|if false
limits, what waits is out of the way;definitions;a_backlog_that_waits;mark_runs|awaiting_permit = e.awaiting_permit or (d.permits is not null|awaiting_permit = e.awaiting_permit or (false
definitions, the call overrules everywhere;definitions;the_call_overrules;ruled|when p_option = any (string_to_array(p_given, ',')) then p_call|when false then p_call
definitions, the call overrules;definitions;the_call_overrules;create_by_rules|currant.ruled(c.given, 'queue', d.queue, c.queue)|coalesce(d.queue, c.queue)
definitions, the call overrules with what is stored together;definitions;the_call_overrules;ruled_options|p_definition - string_to_array(p_given, ',')|p_definition
definitions, the queue to wake;definitions;the_call_overrules;create_by_rules|currant.ruled(k.given, 'queue', d.queue, k.queue)|k.queue
definitions, steps;definitions;steps_and_what_a_workflow_starts;commit_batch|currant.ruled(k.given, 'queue', d.queue, k.queue)|k.queue
definitions, an owner keeps its function;definitions;wrong_or_taken;apply_definition|where d.owner = excluded.owner|
definitions, unchecked arguments;definitions;not_checked_against;create_by_rules|d.input_hash <> k.checked|false
declared, what the decorator says;declared;without_options;enqueue_checked|v_code := currant.declared(p_function);|v_code := null;
declared, a kind of its own;declared;name_of_another_kind;enqueue_checked|if v_code.kind <> v_options ->> 'kind' then v_code := null; end if;|
claims, another kind keeps its options;claims;enqueued_as_a_workflow;mark_claimed|currant.merge_options(currant.default_options('workflow'), e.options)|e.options
declared, null takes a word back;declared;without_options;checked_options|o where o.value = 'null'|o where false
declared, only what lives counts;declared;in_a_roll_out;declared|then currant.is_live(f.code) end|then true end
declared, a restart changes nothing;declared;in_a_roll_out;declare_functions|v_returns boolean := not currant.is_live(p_code, p_worker)|v_returns boolean := true
declared, a roll-back;declared;in_a_roll_out;declare_functions|v_returns boolean := not currant.is_live(p_code, p_worker)|v_returns boolean := false
declared, a dead worker;declared;a_dead_worker_s_version;is_alive|and p_last_heartbeat >= statement_timestamp() - p_timeout * interval '1 second'|
declared, nothing gathers;declared;do_not_gather;declare_functions|and not currant.is_live(o.code)|and false
declared, what others started goes not;declared;in_a_roll_out;declare_functions|and not currant.is_live(o.code)|and true
retention, what is unfinished below;retention;something_unfinished_below;sweep|where not b.finished)|where false and not b.finished)
retention, the whole tree;retention;goes_with_its_whole_tree;sweep|where not b.top = any (v_kept)|where false
retention, and deeper;retention;something_unfinished_below;below|where e.parent_id = t.id|where e.parent_id = t.id and not t.is_below
retention, what is locked;retention;of_which_somebody_has_locked;sweep|where not b.id = any (v_steps)|where false
retention, a key that is locked;retention;of_which_somebody_has_locked;sweep|and not k.execution_id = any (v_keyed)|and false
retention, once a minute;retention;goes_with_its_whole_tree;sweep|u.swept_at < clock_timestamp() - interval '1 minute'|true
RULES
exit $failed
