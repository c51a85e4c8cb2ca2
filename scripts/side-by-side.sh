#!/usr/bin/env bash
# side-by-side.sh COMMAND COMMAND...: run commands at the same time, so that some use the cores while others wait. A command is one
# argument. The output of the first appears as it comes, that of each other when the ones before it have ended. All run to their end,
# so that one call shows all that fails; the exit code is that of the first that failed.
set -um # a process group for each command
directory=$(mktemp -d)
groups=()

# shellcheck disable=SC2317  # called by trap
stop() {
    [ ${#groups[@]} -eq 0 ] || kill -- "${groups[@]/#/-}" 2>/dev/null
    rm -rf "$directory"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for command in "$@"; do
    if [ ${#groups[@]} -eq 0 ]; then
        bash -c "$command" </dev/null &
    else
        bash -c "$command" </dev/null >"$directory/${#groups[@]}" 2>&1 &
    fi
    groups+=($!)
done

code=0
for number in "${!groups[@]}"; do
    wait "${groups[$number]}" || code=$((code == 0 ? $? : code))
    [ "$number" -eq 0 ] || cat "$directory/$number"
done
groups=()
exit $code
