# Makes sockets as it is told, a JSON object a line, and says how many it could make.
import json, os, resource, socket, struct, sys

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE = 24, 51
servers, kept = {}, []


def serve(family, address, port):
    l = socket.socket(family)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    l.bind((address, port))
    l.listen(4096)
    servers[family, port] = l


for port in (9000, 9001):
    serve(socket.AF_INET, '0.0.0.0', port)
    serve(socket.AF_INET6, '::', port)


def abort(s):
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    except OSError:
        pass
    s.close()


def make(spec):
    family = socket.AF_INET6 if spec['six'] else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM if spec['udp'] else socket.SOCK_STREAM)
    try:
        if spec['reuse_addr']:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if spec['reuse_port']:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if spec['only_six']:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if spec['no_port']:
            s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if spec['range']:
            low, high = spec['range']
            s.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack('I', high << 16 | low))
        if spec['bind']:
            s.bind(tuple(spec['bind']))
        if spec['listen']:
            s.listen(64)
            servers[family, s.getsockname()[1]] = s
        if spec['connect']:
            address, port = spec['connect']
            if spec['send']:
                s.sendto(b'x', (address, port))
            else:
                s.connect((address, port))
                if not spec['udp']:
                    native = spec['six'] and not address.startswith('::ffff:')
                    server = servers[socket.AF_INET6 if native else socket.AF_INET, port]
                    return s, server.accept()[0]
        return s, None
    except OSError:
        s.close()
        raise


def end(how, client, server):
    if how == 'time_wait':
        client.close()
        server.close()
        return []
    if how == 'close_wait':
        server.close()
        return [client]
    if how == 'fin_wait2':
        client.close()
        return [server]
    return [s for s in (client, server) if s]


def obey(told):
    if 'sysctl' in told:
        # In one write, and a line even if it is empty.
        file = os.open('/proc/sys/net/ipv4/' + told['sysctl'], os.O_WRONLY)
        os.write(file, (told['value'] + '\n').encode())
        os.close(file)
        return {}
    if 'reset' in told:
        for s in kept:
            abort(s)
        kept.clear()
        for key in [key for key, s in servers.items() if s.fileno() < 0]:
            del servers[key]
        return {}
    made, error, here = 0, 0, []
    for _ in range(told['count']):
        try:
            client, server = make(told)
        except OSError as problem:
            error = problem.errno
            break
        made += 1
        here.extend(end(told['end'], client, server))
    if told.get('try'):
        for s in here:
            abort(s)
    else:
        kept.extend(here)
    return {'made': made, 'error': error}


for line in sys.stdin:
    print(json.dumps(obey(json.loads(line))), flush=True)
