# The configuration is read again.

configuration=/etc/socktrace/socktrace.toml
cp "$configuration" /tmp/configuration
before=$(main_pid)
printf '\n[metrics]\ndestinations = 3\n' >>"$configuration.new"
mv "$configuration.new" "$configuration"
holds 'a good file is read' systemctl reload socktrace
soon 60 'the daemon says so' logged 'the configuration was read again'
soon 60 'it is in force' bash -c \
    'curl -sS http://127.0.0.1:10137/metrics | grep "^socktrace_ephemeral_ports_destination_used_ratio{"'
printf '[metrics]\nno_such_key = 1\n' >"$configuration"
holds 'a bad file is offered' systemctl reload socktrace
soon 60 'it is told of' logged 'no_such_key'
holds 'the daemon runs on' curl -sS --fail http://127.0.0.1:10137/-/ready
equal 'and is the same' "$before" main_pid
holds 'it would not start with it' bash -c "socktrace config check $configuration; test \$? = 78"
cp /tmp/configuration "$configuration"
holds 'the good one is back' systemctl reload socktrace
