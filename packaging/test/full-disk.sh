# A second daemon, whose state is on a disk that is full. It tries to write after a minute; what
# becomes of it is looked at in room.sh.

full=/var/lib/private/socktrace-full
mkdir -p -m 700 /var/lib/private
mkdir -p "$full"
mount -t tmpfs -o size=64k,mode=755 full "$full"
head -c 1M /dev/zero >"$full/filler" 2>/dev/null
equal 'there is no room left' 0 bash -c "df --output=avail $full | tail -n 1 | tr -d ' '"
unit=/run/systemd/system/socktrace-full.service
sed -e 's/^\(State\|Runtime\)Directory=.*/&-full/' -e 's/^User=.*/&-full/' \
    -e 's|^ExecStart=.*|& --socket=/run/socktrace-full/socktrace.sock --web.listen-address=127.0.0.1:10138|' \
    /usr/lib/systemd/system/socktrace.service >"$unit"
systemctl daemon-reload
holds 'a daemon starts on a full disk' systemctl start socktrace-full
full_started=$SECONDS
