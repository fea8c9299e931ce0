#!/bin/sh
# An authority, a server that it vouches for, and a stranger. They vouch for nothing but tests.
set -eu
cd "$(dirname "$0")"
new() { openssl req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "$@"; }
new -x509 -days 36500 -subj /CN=socktrace-test -keyout ca.key -out ca.pem \
    -addext keyUsage=critical,keyCertSign
new -x509 -days 36500 -subj /CN=stranger -keyout other.key -out other.pem
new -subj /CN=localhost -keyout server.key -out server.csr
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n' |
    openssl x509 -req -days 36500 -in server.csr -CA ca.pem -CAkey ca.key -out server.pem -extfile /dev/stdin
rm -f ca.key other.key server.csr ca.srl
