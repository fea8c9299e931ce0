# In a range of 100 ports: ten connections a second that this side closes first, and that the other
# side closes first; then all that are left, to a third destination.
def serve(port, first):
    l = socket.create_server(('127.0.0.1', port))
    def once():
        c, a = pair(l)
        for it in [a, c] if first == 'server' else [c, a]: it.close()
    return once

ours, theirs = serve(9000, 'client'), serve(9001, 'server')
inside = socket.create_server(('127.0.0.1', 40005))
hoard = socket.create_server(('127.0.0.1', 9002)); kept = [pair(hoard) for _ in range(3)]
print('closing', os.getpid(), flush=True)
for _ in range(70):
    if select.select([sys.stdin], [], [], 0.1)[0]: break
    ours(); theirs()
if not sys.stdin.readline(): os._exit(0)
try:
    while True: kept.append(pair(hoard))
except OSError as error:
    print('full', errno.errorcode[error.errno], flush=True)
sys.stdin.readline()
