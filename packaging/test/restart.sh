# It is killed and started again, and does not forget since when things are.

# How old the listener of install.sh is at least, in seconds; for all that the kernel says, it could
# be as young as the daemon.
age() {
    curl -sS --fail --unix-socket /run/socktrace/socktrace.sock http://socktrace/api/v1/sockets |
        tr '{' '\n' | grep '"lport":4444' | grep '"state":"listen"' |
        sed -n 's/.*"age_seconds":\([0-9]*\).*/\1/p' | head -n 1
}
# It is as old as the daemon has seen it, or older.
remembered() {
    local age
    age=$(age)
    echo "${age:-unknown} s"
    [ "${age:-0}" -ge $((SECONDS - installed - 2)) ]
}
forgotten() {
    local age
    age=$(age)
    echo "${age:-unknown} s"
    [ "${age:-1000}" -lt 30 ]
}
# restarted PID: it runs, and is not this one.
restarted() {
    local pid
    pid=$(main_pid)
    echo "process $pid"
    [ "$pid" -ne 0 ] && [ "$pid" -ne "$1" ] && systemctl is-active --quiet socktrace
}

# Younger sockets are not remembered.
sleep $((installed + 65 > SECONDS ? installed + 65 - SECONDS : 0))
soon 60 'a listener is as old as the daemon at least' remembered
holds 'the daemon starts again' systemctl restart socktrace
soon 60 'and has not forgotten' remembered
before=$(main_pid)
kill -KILL "$before"
soon 60 'it is killed, and systemd starts it again' restarted "$before"
equal 'once' 1 systemctl show --property=NRestarts --value socktrace
soon 60 'and it has not forgotten' remembered
# That it is the state which makes this hold:
holds 'it stops' systemctl stop socktrace
lacks /run/socktrace/socktrace.sock || fail 'the socket is gone'
rm /var/lib/private/socktrace/state.json
holds 'it starts without its state' systemctl start socktrace
soon 60 'and has forgotten' forgotten
