# Each second a server starts a program that inherits its listener, and goes: the port stays busy.
# And servers that fork a worker, which accepts; or a program to be, which has no visitors yet.

def server(child):
    l = listener(); l.set_inheritable(True)
    port = l.getsockname()[1]
    if os.fork() == 0:
        child(l)
        os._exit(0)
    l.close()
    return port

def program(l):
    # Of another name, and it lives on.
    os.execvp('sleep', ['sleep', '60'])

def worker(l):
    while True: l.accept()

def background(l):
    signal.pause()


os.setpgid(0, 0)
print('serving', os.getpid(), flush=True)
kept = []
while not select.select([sys.stdin], [], [], 1)[0]:
    left = server(program)
    working = server(worker)
    waiting = server(background)
    print('ports', left, working, waiting, flush=True)
    for _ in range(2):
        c = socket.socket(); c.connect(('127.0.0.1', working)); kept.append(c)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
print('done', flush=True)
