# What the parts of the test say with. Each prints what it saw; the first that does not hold ends it.

# holds WHAT COMMAND...: the command succeeds. What it said is in $said.
holds() {
    local what=$1
    shift
    said=$("$@" 2>&1) || fail "$what: \`$*\` ended with $?"
    seen "$what"
}

# refused WHAT COMMAND...: the command fails.
refused() {
    local what=$1
    shift
    if said=$("$@" 2>&1); then fail "$what: \`$*\` succeeded"; fi
    seen "$what"
}

# equal WHAT EXPECTED COMMAND...: the command says just this, however it ends.
equal() {
    local what=$1 expected=$2
    shift 2
    said=$("$@" 2>&1)
    [ "$said" = "$expected" ] || fail "$what: \`$*\` does not say '$expected'"
    seen "$what"
}

# soon SECONDS WHAT COMMAND...: the command succeeds before so many seconds have passed.
soon() {
    local last=$((SECONDS + $1)) what=$2
    shift 2
    until said=$("$@" 2>&1); do
        [ $SECONDS -lt $last ] || fail "$what: \`$*\` ended with $? to the last"
        sleep 0.2
    done
    seen "$what"
}

seen() {
    local line
    line=$(printf '%s' "$said" | tail -n 1 | cut -c 1-110)
    printf 'ok      %-62s %s\n' "$1" "${line:+| $line}"
}

fail() {
    printf 'FAILED  %s\n%s\n' "$1" "$(printf '%s' "${said:-}" | tail -n 20)"
    printf '%s\n' '-- the journal of the unit:'
    journalctl --quiet --no-pager --output=cat --lines=30 --unit='socktrace*'
    exit 1
}

# lacks FILE...: none of them is there.
lacks() {
    local file
    for file; do
        if [ -e "$file" ] || [ -L "$file" ]; then
            echo "$file is there"
            return 1
        fi
    done
}

main_pid() { systemctl show --property=MainPID --value socktrace; }

# logged TEXT [UNIT]: the daemon's journal has it.
logged() {
    # All of it is read: grep -q would end journalctl early, and pipefail would take that for a failure.
    journalctl --quiet --no-pager --output=cat --unit="${2:-socktrace}" | grep -F -- "$1" | tail -n 1 | grep .
}

as() {
    local user=$1
    shift
    setpriv --reuid "$user" --regid "$user" --init-groups "$@"
}
