# A resolver that asks a server which answers every other question, and forgets to close when no answer
# comes. With the argument `twin` it does not forget.
import threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(('127.0.0.1', 0))
def serve():
    for number in range(1 << 30):
        question, who = server.recvfrom(512)
        if number % 2: server.sendto(question, who)
threading.Thread(target=serve, daemon=True).start()
def ask():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.1)
    s.connect(server.getsockname()); s.send(b'example.org?')
    try:
        s.recv(512); s.close()
    except TimeoutError:
        if twin: s.close()
        else: forgotten.append(s)
forgotten, twin = [], sys.argv[1:] == ['twin']
print('asking', os.getpid(), flush=True)
while not select.select([sys.stdin], [], [], 0)[0]: ask()
if not sys.stdin.readline(): os._exit(0)
for s in forgotten: s.close()
print('closed', flush=True)
sys.stdin.readline()
