"""stub - a small object store whose every answer a test writes, and a listener nobody may come to.

    with stub.Store() as store, stub.Listener() as listener:
        store.put("/b/m.xml", b"...")             # GET and HEAD of it; ranges, too
        store.answer["/b/part"] = lambda handler: handler.redirect(302, listener.url("127.0.0.1"))
        ... store.url("/b/m.xml") ...; store.seen; listener.untouched(case)

SECRET stands in the query of every URL that url() gives: it must not be found in what anybody prints or
logs.
"""
import http.server
import secrets
import socket
import threading
from xml.sax.saxutils import escape

import ranged

SECRET = "presigned-" + secrets.token_hex(12)
QUERY = f"?X-Amz-Security-Token={SECRET}&AWSAccessKeyId=AK&Expires=1&Signature={SECRET}"


class Store:
    """On one address; seen: (method, path without query, headers) of each request."""

    def __init__(self, address="127.0.0.1", port=0):
        self.objects, self.answer, self.seen = {}, {}, []
        store = self

        class Handler(ranged.Handler):
            def do_GET(self):  # noqa: N802
                path = self.path.split("?")[0]
                store.seen.append((self.command, path, dict(self.headers)))
                if path in store.answer:
                    store.answer[path](self)
                elif path in store.objects:
                    self.wfile.write(self.answer_head(store.objects[path]))
                else:
                    self.send_error(404)

            do_HEAD = do_DELETE = do_GET

            def redirect(self, status, url):
                self.send_response(status)
                self.send_header("Location", url)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.server = http.server.ThreadingHTTPServer((address, port), Handler)
        self.server.daemon_threads = True
        self.address, self.port = self.server.server_address[:2]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def put(self, path, data):
        self.objects[path] = data

    def clear(self):
        self.objects.clear()
        self.answer.clear()
        self.seen.clear()

    def url(self, path, host=None):
        return f"http://{host or self.address}:{self.port}{path}{QUERY}"

    def requests(self, path):
        return [method for method, seen, _ in self.seen if seen == path]

    def upload(self, data, pieces=2, host=None, change=lambda text: text, urls=None, encoding="UTF-8"):
        """An upload of a raw image in so many parts; the URL of its manifest.  change: of the document's
        text; urls: {(part, "get"): URL} instead of the store's own."""
        size = -(-len(data) // pieces)
        parts = ""
        for i in range(pieces):
            self.put(f"/b/part.{i}", data[i * size:(i + 1) * size])
            links = "".join(
                f"<{verb}-url>{escape((urls or {}).get((i, verb)) or self.url(f'/b/part.{i}', host))}</{verb}-url>"
                for verb in ("head", "get", "delete"))
            parts += (f'<part index="{i}"><byte-range start="{i * size}" '
                      f'end="{min((i + 1) * size, len(data)) - 1}"/><key>part.{i}</key>{links}</part>')
        url = self.url("/b/m.xml", host)
        text = change(f"<?xml version='1.0' encoding='{encoding}'?><manifest><version>2010-11-15</version>"
                      "<file-format>RAW</file-format><importer><name>test</name><version>1</version>"
                      f"<release>0</release></importer><self-destruct-url>{escape(url)}</self-destruct-url>"
                      f"<import><size>{len(data)}</size><volume-size>1</volume-size>"
                      f'<parts count="{pieces}">{parts}</parts></import></manifest>')
        self.put("/b/m.xml", text if isinstance(text, bytes) else text.encode(encoding))
        return url

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Listener:
    """On all addresses of this machine, of both families, or on one; it answers nothing, and counts."""

    def __init__(self, address="", port=0):
        self.sockets = [socket.create_server((address, port), backlog=64)]
        self.port = self.sockets[0].getsockname()[1]
        if not address and socket.has_ipv6:
            self.sockets.append(socket.create_server(("::", self.port), family=socket.AF_INET6, backlog=64))
        for one in self.sockets:
            one.setblocking(False)

    def url(self, host, path="/m.xml"):
        return f"http://{host}:{self.port}{path}{QUERY}"

    def visits(self):
        count = 0
        for one in self.sockets:
            try:
                while True:
                    one.accept()[0].close()
                    count += 1
            except BlockingIOError:
                pass
        return count

    def untouched(self, case):
        case.assertEqual(self.visits(), 0, "somebody came to the listener")

    def close(self):
        for one in self.sockets:
            one.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
