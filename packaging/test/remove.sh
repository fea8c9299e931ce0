# The package goes, first without its configuration, then with all.

pid=$(main_pid)
holds 'the package is removed' dpkg --remove socktrace
equal 'the daemon does not run' inactive systemctl is-active socktrace
holds 'its process is gone' lacks "/proc/$pid" /run/socktrace /usr/bin/socktrace
# As Debian has it: masked, so that the link which enabled it comes to nothing, and is known later.
equal 'nothing can start it' masked systemctl is-enabled socktrace
holds 'the configuration is kept' grep 'A person wrote this' /etc/default/socktrace
holds 'and what it remembered' test -s /var/lib/private/socktrace/state.json
holds 'it comes back' dpkg --force-confdef --force-confold --install "$(newer 9.3)"
soon 60 'and runs' systemctl is-active socktrace
holds 'the package is purged' dpkg --purge socktrace
holds 'nothing of it is left' lacks /etc/socktrace /etc/default/socktrace /var/lib/socktrace \
    /var/lib/private/socktrace /run/socktrace /usr/share/socktrace /usr/share/doc/socktrace \
    /usr/lib/systemd/system/socktrace.service /etc/systemd/system/socktrace.service \
    /etc/systemd/system/multi-user.target.wants/socktrace.service
holds 'but the group, as Debian has it' getent group socktrace
equal 'nothing has failed' '' systemctl list-units --failed --plain --no-legend
kill "$holder"
