# Processes of scripts/services: each is known by its id together with the time it began, so no other is ever ended.
# shellcheck shell=bash
# shellcheck disable=SC2154  # $directory and $lock are set by scripts/services

# The longest that a part may take to become usable or to end, in seconds.
start_limit=120
end_limit=30

say() { echo "services: $*"; }

fail() {
    echo "services: $*" >&2
    exit 1
}

seconds_since() {
    awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'
}

# When the process began, in ticks since boot; fails for one that is gone or only waits to be reaped.
birth() {
    local words
    words=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The name of the program stands in parentheses and may hold anything.
    read -r -a words <<<"${words##*) }"
    [[ ${words[0]} != Z ]] || return 1
    echo "${words[19]}"
}

# The process id of a part, when it runs.
process_of() {
    local pid born
    read -r pid born 2>/dev/null <"$directory/$1/process" || return 1
    [[ $(birth "$pid") == "$born" ]] || return 1
    echo "$pid"
}

# Starts a command as the process of a part, as leader of a group of its own: spawn PART COMMAND...
spawn() {
    local part=$1 pid
    shift
    mkdir -p "$directory/$part"
    # shellcheck disable=SC2093
    (exec {lock}>&- && exec setsid "$@" </dev/null >"$directory/$part/output" 2>&1) &
    pid=$!
    echo "$pid $(birth "$pid")" >"$directory/$part/process"
}

show_output() {
    echo "--- the end of $directory/$1/output" >&2
    tail -n 20 "$directory/$1/output" >&2 || true
    if [[ -s $directory/$1/log ]]; then
        echo "--- the end of $directory/$1/log" >&2
        tail -n 20 "$directory/$1/log" >&2
    fi
}

# Waits until the check of a part succeeds: await PART CHECK
await() {
    local part=$1 check=$2 end=$((SECONDS + start_limit))
    until "$check" >/dev/null 2>&1; do
        if ! process_of "$part" >/dev/null; then
            show_output "$part"
            fail "$part ended instead of becoming usable"
        elif ((SECONDS >= end)); then
            show_output "$part"
            fail "$part was not usable after $start_limit s"
        fi
        sleep 0.1
    done
}

# Ends the process of a part if it runs, and waits until it has: end PART TERM|KILL
end() {
    local part=$1 signal=$2 pid limit=$((SECONDS + end_limit))
    pid=$(process_of "$part") || return 0
    case $signal in
        TERM) kill -TERM "$pid" ;;
        # With what it has started itself.
        KILL) kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" ;;
    esac
    while process_of "$part" >/dev/null; do
        if ((SECONDS >= limit)); then
            say "$part did not end within $end_limit s: killed"
            kill -KILL -- "-$pid" || true
            limit=$((SECONDS + end_limit))
        fi
        sleep 0.05
    done
    say "$part ended"
}

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Fails when another program listens on the port that a part has had from the beginning. One that was killed may
# still do so for a moment: its first thread is gone before the last, which closes the port.
require_port() {
    local limit=$((SECONDS + end_limit))
    while listens "$2"; do
        ((SECONDS < limit)) || fail "port $2 of $1 is taken by another program: end that," \
            "or 'scripts/services down --wipe' and 'up' to begin anew on other ports"
        sleep 0.1
    done
}
