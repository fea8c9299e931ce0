#!/bin/sh
# Makes the recordings beside it again: sudo socktrace/testdata/record.sh target/debug/socktrace
#
# What each shows is in README.md. Needs root, a mounted tracefs and python3.
set -eu
socktrace=$(realpath "${1:?the path of socktrace is missing}")
python=/usr/bin/python3
cd "$(dirname "$0")"

record() {
    file=$1.rec
    shift
    # In a view of its own, so that no path of the machine gets into the file.
    # shellcheck disable=SC2086
    unshare --cgroup "$socktrace" record "$file" ${options:-} -- "$@"
}

record echo "$python" -c '
import socket
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen(16)
    client = socket.socket(family)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    client.sendall(b"hello")
    server.sendall(server.recv(9))
    client.recv(9)
    client.close()
    server.recv(1)
    server.close()
    listener.close()
'

record refused "$python" -c '
import socket
for address in ("127.0.0.1", 9), ("255.255.255.255", 80):
    client = socket.socket()
    client.connect_ex(address)
    client.close()
'

record holders "$python" -c '
import os, socket
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(16)
clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
servers = [listener.accept()[0] for _ in clients]

# The child lets go last.
go, gone = os.pipe(), os.pipe()
if os.fork() == 0:
    os.read(go[0], 1)
    clients[0].close()
    os.write(gone[1], b"!")
    os._exit(0)
clients[0].close()
os.write(go[1], b"!")
os.read(gone[0], 1)
os.wait()

# Another file takes its place.
null = os.open("/dev/null", os.O_RDONLY)
os.dup2(null, clients[1].fileno(), inheritable=False)

# What is not close-on-exec goes with the next program.
os.set_inheritable(servers[2].fileno(), True)
os.execv("/bin/true", ["true"])
'

record hostile "$python" -c '
import ctypes, os, socket
names = (
    b"\x1b[2J\x1b]0;pwned\x07",
    b"two\nlines\t\r",
    b"\"quo,ted\"\\",
    b"\xff\xfe\x80raw",
    "\u009b31mC1\x7f".encode(),
    "\u202egpj.exe".encode(),
    b"=1+1",
)
prctl = ctypes.CDLL(None).prctl
for name in names:
    # A name is told once for each process, so each has a process of its own.
    child = os.fork()
    if child == 0:
        prctl(15, name, 0, 0, 0)  # PR_SET_NAME
        socket.socket().connect_ex(("127.0.0.1", 9))
        os._exit(0)
    os.waitpid(child, 0)
'

options="--proto tcp,udp,unix,netlink"
record families "$python" -c '
import ctypes, os, socket, struct, tempfile

def connect(s, address):
    return ctypes.CDLL(None).connect(s.fileno(), address, len(address))

os.chdir(tempfile.mkdtemp())
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.connect(("::ffff:127.0.0.1", receiver.getsockname()[1]))
sender.send(b"hello")
connect(sender, bytes(16))
autobound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
autobound.sendto(b"hello", receiver.getsockname())
for s in receiver, sender, autobound:
    s.close()

for name in b"socket", b"\0abstract\0\x1b[2J", b"\xff\x1b]0;pwned\x07\n\"=1+1":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen(5)
    client = socket.socket(socket.AF_UNIX)
    client.connect(name)
    server, _ = listener.accept()
    client.close()
    server.close()
    listener.close()

nobody = socket.socket(socket.AF_UNIX)
nobody.connect_ex("nowhere")
nobody.close()
left, right = socket.socketpair()
socket.send_fds(left, [b"!"], [right.fileno()])
right.close()
# A netlink socket goes with the process.
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
netlink.bind((0, 0))
os._exit(0)
'

ls -l ./*.rec
