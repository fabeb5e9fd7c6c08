"""A client of the least kind: what psql and pgbench cannot do (thousands of idle clients; a stream that is not kept)."""

import base64
import hashlib
import hmac
import secrets
import socket
import struct

# Linux' name for it is not in Python's socket module. Ports are chosen when the other end is known, so that all 28,000 do for each.
IP_BIND_ADDRESS_NO_PORT = 24


class Wire:
    """A connection, logged in."""

    keys = {}

    def __init__(self, port, database, user="app", password="app", source=None):
        self.socket = socket.socket()
        self.socket.settimeout(30)
        if source:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        words = f"user\0{user}\0database\0{database}\0\0".encode()
        self.socket.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
        self.log_in(password)

    def message(self):
        """The next message's type and body."""
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack_from("!i", self.buffer, 1)[0]:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError("closed")
            self.buffer += more
        end = 1 + struct.unpack_from("!i", self.buffer, 1)[0]
        kind, body, self.buffer = self.buffer[:1], self.buffer[5:end], self.buffer[end:]
        if kind == b"E":
            raise RuntimeError(body.replace(b"\0", b" ").decode(errors="replace"))
        return kind, body

    def send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def log_in(self, password):
        """SCRAM-SHA-256 (RFC 5802, RFC 7677) or trust, until ReadyForQuery."""
        nonce = secrets.token_urlsafe(18)
        bare = f"n=,r={nonce}"
        while True:
            kind, body = self.message()
            if kind == b"Z":
                return
            if kind != b"R":
                continue
            step = struct.unpack_from("!i", body)[0]
            if step == 10:
                first = ("n,," + bare).encode()
                self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
            elif step == 11:
                server = body[4:].decode()
                fields = dict(field.split("=", 1) for field in server.split(","))
                final = f"c=biws,r={fields['r']}"
                known = (password, fields["s"], fields["i"])
                if known not in Wire.keys:
                    Wire.keys[known] = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
                key = hmac.digest(Wire.keys[known], b"Client Key", "sha256")
                signed = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{server},{final}".encode(), "sha256")
                proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signed))).decode()
                self.send(b"p", f"{final},p={proof}".encode())
            elif step not in (0, 12):
                raise RuntimeError(f"authentication {step} is not known here")

    def stream(self, statement):
        """Runs it and throws the rows away; bytes received."""
        self.send(b"Q", statement.encode() + b"\0")
        kind, body = self.message()
        # ReadyForQuery outside a transaction, at the very end; the rows hold no such bytes.
        size, tail = len(body) + 5 + len(self.buffer), self.buffer[-6:]
        while tail != b"Z\0\0\0\x05I":
            more = self.socket.recv(1 << 20)
            if not more:
                raise EOFError("closed")
            size += len(more)
            tail = (tail + more)[-6:]
        self.buffer = b""
        return size

    def close(self):
        self.socket.close()
