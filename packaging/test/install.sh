# The package goes in, and the daemon runs, as Debian has it.

# Somebody with a listener that is there before the daemon, and a connection that nobody closes.
perl -MIO::Socket::INET -e '
    $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1:4444", Listen => 5) or die $!;
    $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1:4444") or die $!;
    $server = $listener->accept;
    close $client;
    sleep 3600' &
holder=$!

soon 60 'the system is up' systemctl is-system-running
holds 'the package is installed' dpkg --install "$package"
installed=$SECONDS
holds 'its files are as it says' dpkg --verify socktrace
holds 'there is a group' getent group socktrace
equal 'it is started with the system' enabled systemctl is-enabled socktrace
soon 60 'it runs' systemctl is-active socktrace
holds 'systemd says so' bash -c "systemctl status --no-pager --lines=0 socktrace | grep Active:"
equal 'nothing has failed' '' systemctl list-units --failed --plain --no-legend
holds 'it is exposed no more than 2.5' bash -c \
    'systemd-analyze security --no-pager --threshold=25 socktrace | grep Overall'
for file in /usr/share/man/man1/socktrace{,-daemon,-sockets}.1.gz \
    /usr/share/{bash-completion/completions/socktrace,zsh/vendor-completions/_socktrace} \
    /usr/share/fish/vendor_completions.d/socktrace.fish \
    /usr/share/socktrace/{prometheus/socktrace.rules.yml,grafana/socktrace-overview.json} \
    /usr/share/doc/socktrace/{copyright,changelog.gz,changelog.Debian.gz,third-party.gz}; do
    holds "there is ${file##*/}" test -s "$file"
done
equal 'what a person may change is marked' $'/etc/default/socktrace\n/etc/socktrace/socktrace.toml' \
    bash -c 'sort /var/lib/dpkg/info/socktrace.conffiles'
holds 'its configuration makes sense' socktrace config check /etc/socktrace/socktrace.toml
holds 'Linux and kernel.perf_event_paranoid' \
    bash -c 'echo $(uname -r) $(cat /proc/sys/kernel/perf_event_paranoid)'
