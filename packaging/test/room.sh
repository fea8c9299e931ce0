# What the daemon of full-disk.sh has made of it.

soon 120 'a full disk is told of' logged 'ages cannot be kept' socktrace-full
holds 'it answers all the same' bash -c \
    'curl -sS --fail http://127.0.0.1:10138/metrics | grep -c ^socktrace_'
equal 'no half of a file is left' filler ls "$full"
rm "$full/filler"
holds 'it stops when there is room again' systemctl stop socktrace-full
holds 'and has written its state' grep -c '"version":1' "$full/state.json"
equal 'nothing of it has failed' success systemctl show --property=Result --value socktrace-full
umount "$full"
