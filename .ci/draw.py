#!/usr/bin/env python3
"""A client of the drawing protocol, to try servers that were installed from packages.

    draw.py host ADDRESS ALIAS [persistent]    hosts a session, draws, prints "drawn" and stays until standard input ends
    draw.py join ADDRESS ALIAS                 joins it; fails unless title and drawing have arrived

ADDRESS is HOST:PORT, or a URL such as wss://draw.example.org/drawpile-web/ws, which needs websockets of PyPI. The server
may need a while until it listens and has its certificate.
"""
import json, socket, struct, sys, time

TITLE = "Harbour at night"
# Messages of the client's own drawing, types of the protocol that servers pass on as they are.
STROKES = [(148 + n % 3, bytes([1, 0, n]) * (n + 1)) for n in range(24)]
TIMEOUT_S = 20


class Tcp:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        return self.socket.recv(65536)


class WebSocket:
    """A message of the protocol is one of WebSocket's, without its length."""

    def __init__(self, url):
        from websockets.sync.client import connect

        self.connection = connect(url, open_timeout=TIMEOUT_S, max_size=None)
        print(f"encrypted by {self.connection.socket.version()}", file=sys.stderr)

    def send(self, data):
        self.connection.send(data[2:])

    def receive(self):
        data = self.connection.recv(timeout=TIMEOUT_S)
        return struct.pack(">H", len(data) - 2) + data


class Client:
    def __init__(self, address):
        transport = WebSocket if "://" in address else Tcp
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                self.transport = transport(address)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        self.buffer = b""

    def send(self, kind, user, payload):
        self.transport.send(struct.pack(">HBB", len(payload), kind, user) + payload)

    def command(self, name, *args, **kwargs):
        self.send(0, 0, json.dumps({"cmd": name, "args": list(args), "kwargs": kwargs}).encode())

    def message(self):
        """The next message: its type and payload."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack(">H", self.buffer[:2])[0]:
            data = self.transport.receive()
            if not data:
                sys.exit("the server has closed the connection")
            self.buffer += data
        length, kind = struct.unpack(">HB", self.buffer[:3])
        payload = self.buffer[4 : 4 + length]
        self.buffer = self.buffer[4 + length :]
        return kind, payload

    def wait_for(self, what):
        """Reads until a reply for which `what` is true."""
        while True:
            kind, payload = self.message()
            if kind == 0:
                reply = json.loads(payload)
                if reply.get("type") == "error":
                    sys.exit(f"the server refuses: {reply}")
                if what(reply):
                    return reply


def host(address, alias, lifetime="temporary"):
    client = Client(address)
    client.command("ident", "Ada")
    client.wait_for(lambda reply: reply.get("state") == "identOk")
    client.command("host", protocol="dp:4.24.0", user_id=1, s="a" * 32, alias=alias)
    client.wait_for(lambda reply: reply.get("state") == "host")
    client.send(129, 1, bytes(16))
    client.command("init-complete")
    client.command("sessionconf", title=TITLE, persistent=lifetime == "persistent")
    for kind, payload in STROKES:
        client.send(kind, 1, payload)
    left = list(STROKES)
    while left:
        if client.message() == left[0]:
            left.pop(0)
    print("drawn", flush=True)
    sys.stdin.read()


def join(address, alias):
    client = Client(address)
    client.command("ident", "Grace")
    client.wait_for(lambda reply: reply.get("state") == "identOk")
    client.command("join", alias, s="b" * 32)
    title, left = None, list(STROKES)
    while title != TITLE or left:
        kind, payload = client.message()
        if left and (kind, payload) == left[0]:
            left.pop(0)
        if kind == 0:
            reply = json.loads(payload)
            if reply.get("type") == "error":
                sys.exit(f"the server refuses: {reply}")
            title = reply.get("config", {}).get("title", title)
    print("title and drawing are there")


{"host": host, "join": join}[sys.argv[1]](*sys.argv[2:])
