# Leaks in every shape, one of each ten times a second: sockets, pipes and descriptors that nobody
# closes. With the argument `twin` each is closed after 0.3 s, and a pool of them stays from the start.
# A line on the input ends the leak, the next one closes everything.
listening = listener(backlog=128)
reset = struct.pack('ii', 1, 0)
kept, twin = [], sys.argv[1:] == ['twin']

def datagrams(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', port))
    return s

def close_wait():
    c, a = pair(listening)
    a.close()
    # Of another protocol: that it has the same port means nothing.
    if not kept: pool.append([datagrams(c.getsockname()[1])])
    return [c]

def dead_open():
    c, a = pair(listening)
    a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    a.close()
    return [c]

def never_connected():
    return [socket.socket()]

def idle():
    return pair(listening)

def udp():
    return [datagrams(0)]

def unix_half_dead():
    a, b = socket.socketpair()
    b.close()
    return [a]

def pipe():
    r, w = os.pipe()
    os.close(r)
    return [os.fdopen(w, 'w')]

shapes = [close_wait, dead_open, never_connected, idle, udp, unix_half_dead, pipe]
# A pool that is as large tomorrow.
pool = [shape() for _ in range(15) for shape in [never_connected, idle, udp] if twin]
# A peer that is done talking and still listens.
half_closed = [pair(listening) for _ in range(15 if twin else 0)]
for c, a in half_closed:
    a.shutdown(socket.SHUT_WR)

def leak():
    for shape in shapes:
        kept.append((time.monotonic(), shape()))
    while twin and time.monotonic() - kept[0][0] > 0.3:
        for it in kept.pop(0)[1]: it.close()
    # What ends tells how long such connections usually live.
    for _ in range(2):
        for it in pair(listening): it.close()
    for c, _ in half_closed:
        c.send(b'more')

leak()
print('leaking', os.getpid(), listening.getsockname()[1], flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]:
    leak()
if not sys.stdin.readline(): os._exit(0)
print('leaked', len(kept) // len(shapes), flush=True)
if not sys.stdin.readline(): os._exit(0)
for _, shape in kept:
    for it in shape: it.close()
print('closed', flush=True)
sys.stdin.readline()
