# Connections that wait for somebody: in SYN_SENT at a full queue, with data that nobody takes, in a
# queue that nobody empties. And the same of which nothing is worth a word.
kept = []

def listen(port, backlog, buffer=None):
    s = socket.socket()
    if buffer: s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    s.bind(('127.0.0.1', port)); s.listen(backlog)
    kept.append(s)
    return s

def connect(port, count):
    for _ in range(count):
        c = socket.socket(); c.setblocking(False)
        c.connect_ex(('127.0.0.1', port))
        kept.append(c)

def abandon(port, count):
    l = listen(port, 64, 4096)
    for _ in range(count):
        c, a = pair(l)
        kept.append(a)
        c.setblocking(False)
        try:
            while True: c.send(b'x' * 65536)
        except BlockingIOError: pass
        c.close()

if sys.argv[1:] == ['twin']:
    # Fewer do not get in, fewer are stuck, and a short queue is emptied.
    listen(9100, 0); connect(9100, 10)
    abandon(9101, 5)
    queue = listen(9102, 8)
    connect(9102, 4)
else:
    # One fits into a backlog of none.
    listen(9000, 0); connect(9000, 30)
    abandon(9001, 12)
    queue = None
    listen(9002, 8); connect(9002, 7)
print('waiting', os.getpid(), flush=True)
while not select.select([sys.stdin], [], [], 0.2)[0]:
    if queue:
        kept.append(queue.accept()[0])
        connect(9102, 1)
