"""A member that speaks WebSocket (RFC 6455): it sends back every message, and answers plain requests with its name.

Usage: websocket_member.py PORT NAME
"""

import base64
import hashlib
import socketserver
import struct
import sys

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            headers = self.read_head()
            if headers is None:
                return
            if headers.get("upgrade", "").lower() == "websocket":
                self.upgrade(headers)
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nchat\n")

    def read_head(self):
        if not self.rfile.readline():
            return None
        headers = {}
        while True:
            line = self.rfile.readline().decode("latin-1").strip()
            if not line:
                return headers
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()

    def upgrade(self, headers):
        digest = hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()
        accept = base64.b64encode(digest).decode()
        self.wfile.write(
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\nX-Member: {sys.argv[2]}\r\n\r\n"
            ).encode()
        )
        while True:
            opcode, payload = self.read_frame()
            if opcode is None:
                return
            if opcode == PING:
                self.write_frame(PONG, payload)
            elif opcode in (TEXT, BINARY, CLOSE):
                self.write_frame(opcode, payload)
            if opcode == CLOSE:
                return

    def read_frame(self):
        head = self.rfile.read(2)
        if len(head) < 2:
            return None, b""
        length = head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.rfile.read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.rfile.read(8))
        mask = self.rfile.read(4)
        payload = self.rfile.read(length)
        return head[0] & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    def write_frame(self, opcode, payload):
        head = bytes([0x80 | opcode])
        if len(payload) < 126:
            head += bytes([len(payload)])
        elif len(payload) < 1 << 16:
            head += bytes([126]) + struct.pack(">H", len(payload))
        else:
            head += bytes([127]) + struct.pack(">Q", len(payload))
        self.wfile.write(head + payload)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
