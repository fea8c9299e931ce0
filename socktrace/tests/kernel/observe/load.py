# What programs do on a machine, in small and until the input ends: `shop` serves, `checkout` asks.
import selectors

def named(name): open('/proc/self/comm', 'w').write(name)

def serve(told):
    "Answers; of what it is told to leak it never closes its end."
    web = listener(address='0.0.0.0', backlog=128)
    # Nobody accepts from this one.
    stuck = listener(backlog=8)
    os.write(told, json.dumps([s.getsockname() for s in (web, stuck)]).encode() + b'\n')
    ready, leaked = selectors.DefaultSelector(), set()
    ready.register(web, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is web:
                ready.register(web.accept()[0], selectors.EVENT_READ)
                continue
            asked = key.fileobj
            try: text = asked.recv(64)
            except ConnectionResetError: text = b''
            if text == b'leak': leaked.add(asked)
            elif text: asked.send(b'answer')
            else:
                ready.unregister(asked)
                if asked not in leaked: asked.close()

def connected(to, s=None):
    s = s or socket.socket(); s.connect(tuple(to)); return s

def fails(error, to, s=None):
    s = s or socket.socket()
    assert s.connect_ex(tuple(to)) == error
    s.close()

def narrow():
    "IP_LOCAL_PORT_RANGE (51) leaves it two ports."
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_IP, 51, struct.pack('=I', 40001 << 16 | 40000))
    return s

# Each has its name before its first socket.
heard, told = os.pipe()
server = os.fork()
if server == 0:
    named('shop'); serve(told)
named('checkout')
(_, port), stuck = json.loads(os.fdopen(heard).readline())
# What leaks has a destination of its own, so that no other connection has the same addresses and ports
# one day: the kernel would reset the old one.
web, leaky = ('127.0.0.1', port), ('127.0.0.2', port)
taken = [connected(web, narrow()) for _ in range(2)]
waiting = [connected(stuck) for _ in range(3)]
closed = socket.socket(); closed.bind(('127.0.0.1', 0))
pool, round = [], 0
try:
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        s = connected(web); s.send(b'ask'); s.recv(64); s.close()
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        if round % 20 == 0:
            s = connected(leaky); s.send(b'leak'); s.close()
            fails(errno.ECONNREFUSED, closed.getsockname())
            fails(errno.EADDRNOTAVAIL, web, narrow())
            pool.append(connected(web))
            if len(pool) > 60: pool.pop(0).close()
        if round == 20: print('busy', flush=True)
        round += 1
finally:
    os.kill(server, signal.SIGKILL); os.waitpid(server, 0)
