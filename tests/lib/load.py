"""load - signed requests at a steady rate, each of which must be answered as expected.

    with load.Load(host, keys, rate=200) as steady:
        ...
    steady.failures, steady.sent

Half of the requests ask for tasks, a quarter are one import with a ClientToken, again and again: these
may be repeated.  The last quarter are imports that end as dry runs, which no proxy may repeat.  Half of
the clients keep their connection, half make one for each request.
"""
import collections
import http.client
import threading
import time
import urllib.parse

import sign
from api import DESCRIBE, FORM, IMPORT

CLIENTS = 8
SIGNED_S = 60  # a signature is made anew so often; it would be good for 15 minutes

# what is asked, and how it must end
ASKS = ((DESCRIBE, 200, True), ({**IMPORT, "DryRun": "true"}, 412, False),
        (DESCRIBE, 200, True), ({**IMPORT, "ClientToken": "load"}, 200, True))

Failure = collections.namedtuple("Failure", "began ended repeatable why")


class Client(threading.Thread):
    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number, self.keep = load, number, number % 2 == 0
        self.connection, self.signed_at, self.signed = None, 0, []
        self.sent, self.failures = 0, []

    def sign(self):
        host, keys = self.load.host, self.load.keys
        self.signed = []
        for parameters, status, repeatable in ASKS:
            body = urllib.parse.urlencode(parameters).encode()
            headers = sign.v4(*keys, "POST", host, "/", "", body, FORM)
            self.signed.append((headers, body, status, repeatable))
        self.signed_at = time.monotonic()

    def ask(self, headers, body, status):
        """None, or why it failed."""
        try:
            if not self.connection:
                self.connection = http.client.HTTPConnection(self.load.host, timeout=60)
            self.connection.request("POST", "/", body, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.hang_up()
            return repr(error)
        if not self.keep:
            self.hang_up()
        return None if answer.status == status else f"{answer.status} {text[-300:]!r}"

    def hang_up(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def run(self):
        pause = CLIENTS / self.load.rate
        due = time.monotonic() + pause * self.number / CLIENTS
        while not self.load.ended.wait(max(0, due - time.monotonic())):
            due = max(due + pause, time.monotonic() - 1)  # what could not be sent is not made up for
            if not self.signed or time.monotonic() - self.signed_at > SIGNED_S:
                self.sign()
            headers, body, status, repeatable = self.signed[(self.sent + self.number // 2) % len(ASKS)]
            began = time.monotonic()
            why = self.ask(headers, body, status)
            self.sent += 1
            if why:
                self.failures.append(Failure(began, time.monotonic(), repeatable, why))
        self.hang_up()


class Load:
    """Runs from the beginning of a with-block to its end; rate: requests a second, all together."""

    def __init__(self, host, keys, rate):
        self.host, self.keys, self.rate = host, keys, rate
        self.ended = threading.Event()
        self.clients = [Client(self, number) for number in range(CLIENTS)]
        self.seconds = 0

    @property
    def sent(self):
        return sum(client.sent for client in self.clients)

    @property
    def failures(self):
        return [failure for client in self.clients for failure in client.failures]

    def __enter__(self):
        self.began = time.monotonic()
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        for client in self.clients:
            client.join(120)
        self.seconds = time.monotonic() - self.began
