"""listening - a thread for each who connects.

    listener = listening.start(talk)     # talk(client) gets the socket of each, and closes it
    listener.getsockname()[1]            # a free port of the loopback interface
    listener.close()                     # nobody else is let in
"""
import contextlib
import socket
import threading


class Listener:
    def __init__(self, talk):
        self.talk = talk
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.getsockname = self.sock.getsockname
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.sock.accept()
                threading.Thread(target=self.talk, args=(client,), daemon=True).start()

    def close(self):
        """Nobody waits in accept() when the descriptor's number becomes free: the next listener may
        get that number, and would lose connections to this one's."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self.thread:
            self.thread.join()
        self.sock.close()


def start(talk):
    return Listener(talk)
