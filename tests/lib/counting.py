"""counting - a proxy in front of an object store that counts what is sent, and kills who sends it.

    with counting.Proxy("127.0.0.1:8773") as proxy:
        ... http://{proxy.host}/ ...

Requests go through byte by byte as they are, Host included, so that signatures hold.  Of PUTs below
".part.N" it knows how often each was begun and how often the store answered that it has it.
"""
import contextlib
import os
import re
import signal
import socket
import threading

import listening

BLOCK = 16384
DEADLINE_S = 60


class Gone(Exception):
    """One side has hung up."""


class Stream:
    """A socket with a buffer."""

    def __init__(self, sock):
        self.sock, self.rest, self.cut = sock, b"", False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(DEADLINE_S)

    def some(self, most):
        try:
            data, self.rest = self.rest or self.sock.recv(BLOCK), b""
        except OSError as error:
            raise Gone from error
        if not data or self.cut:
            raise Gone
        data, self.rest = data[:most], data[most:] + self.rest
        return data

    def head(self):
        text = b""
        while b"\r\n\r\n" not in text:
            text += self.some(BLOCK)
        text, more = text.split(b"\r\n\r\n", 1)
        self.rest = more + self.rest
        return text + b"\r\n\r\n"

    def line(self):
        text = b""
        while not text.endswith(b"\r\n"):
            text += self.some(1)
        return text

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error


def length_of(head):
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
    return int(found[1]) if found else 0


class Proxy:
    """begun, stored: how often, by part.  sent: bytes of bodies of parts.  again: parts that were
    sent once more although the store had said that it has them."""

    def __init__(self, upstream):
        name, port = upstream.rsplit(":", 1)
        self.upstream = (name, int(port))
        self.lock = threading.Lock()
        self.begun, self.stored, self.sent, self.again = {}, {}, 0, []
        self.uploaders = set() # streams of whoever signs its requests
        self.open = set()      # parts that are on their way
        self.victim = None     # who is killed, and when:
        self.until = set()     # not before the store has these parts,
        self.left = 0          # and then after so many bytes
        self.killed = threading.Event()
        self.listener = listening.start(self._talk)
        self.host = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def kill_after(self, victim, size, until=()):
        """Kill that process (with SIGKILL) when so many more bytes have come from it, counted from
        when the store has all parts of `until`."""
        with self.lock:
            self.killed.clear()
            self.until, self.left, self.victim = set(until), size, victim

    def _came(self, size):
        with self.lock:
            if self.victim is None or self.until:
                return
            self.left -= size
            if self.left <= 0:
                os.kill(self.victim.pid, signal.SIGKILL)
                self.victim = None
                self.killed.set()
                # what the kernel would still send for it: as if the machine had lost power
                for uploader in self.uploaders:
                    uploader.cut = True
                    with contextlib.suppress(OSError):
                        uploader.sock.shutdown(socket.SHUT_RDWR)

    def _talk(self, client):
        with client, socket.create_connection(self.upstream) as store:
            try:
                client, store = Stream(client), Stream(store)
                while True:
                    self._exchange(client, store)
            except Gone:
                pass
            finally:
                with self.lock:
                    self.uploaders.discard(client)

    def _exchange(self, client, store):
        head = client.head()
        method, path = head.split(b" ", 2)[:2]
        if b"\r\nAuthorization: " in head:  # not the service, which has URLs
            with self.lock:
                self.uploaders.add(client)
        found = re.search(rb"\.part\.(\d+)$", path)
        part = int(found[1]) if method == b"PUT" and found else None
        if part is not None:
            with self.lock:
                self.begun[part] = self.begun.get(part, 0) + 1
                self.open.add(part)
                if self.stored.get(part):
                    self.again.append(part)
        try:
            store.send(head)
            if b"\r\nAuthorization: " in head:
                self._came(len(head))
            self._body(client, store, length_of(head), part)
            self._answer(client, store, method, part)
        finally:
            if part is not None:
                with self.lock:
                    self.open.discard(part)

    def _body(self, client, store, left, part):
        while left > 0:
            data = client.some(left)
            left -= len(data)
            store.send(data)
            if part is not None:
                with self.lock:
                    self.sent += len(data)
                self._came(len(data))

    def _answer(self, client, store, method, part):
        head = store.head()
        if part is not None and b" 200 " in head.split(b"\r\n", 1)[0]:
            with self.lock:
                self.stored[part] = self.stored.get(part, 0) + 1
                self.until.discard(part)
        client.send(head)
        if method == b"HEAD":
            return
        if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.I):
            size = 1
            while size > 0:
                line = store.line()
                size = int(line, 16)
                client.send(line)
                self._pass(store, client, size + 2)
        else:
            self._pass(store, client, length_of(head))

    @staticmethod
    def _pass(store, client, left):
        while left > 0:
            data = store.some(left)
            left -= len(data)
            client.send(data)
