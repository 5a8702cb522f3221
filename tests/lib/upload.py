"""upload - a server of one upload: an import manifest and its parts, each there only from when it is
allowed on.

    with upload.Upload("RAW", path, 1) as u:
        ... u.url ...; u.open()

Parts (of PART bytes) are answered up to the gate: `closed` is the first that is not, and may be moved
on; open() lets all through.  Requests for a part behind the gate wait.  The last part is always there: a
raw image's end is looked at first.  With missing=True nothing is there before show().
"""
import http.server
import os
import threading
from xml.sax.saxutils import escape

import ranged

PART = 1 << 20


class Upload:
    def __init__(self, form, path, gib, closed=None, missing=False):
        self.form, self.gib, self.closed, self.missing = form, gib, closed, missing
        with open(path, "rb") as image:
            self.data = image.read()
        self.gate = threading.Event()
        self.waiting = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.url = self.base + "/manifest.xml?Signature=very-secret"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def open(self):
        self.gate.set()

    def show(self):
        self.missing = False

    def stop(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _manifest(self):
        size = len(self.data)
        starts = range(0, size, PART)
        parts = ""
        for i, start in enumerate(starts):
            urls = "".join(f"<{verb}-url>{escape(self.base)}/part.{i}</{verb}-url>"
                           for verb in ("head", "get", "delete"))
            parts += (f'<part index="{i}"><byte-range start="{start}" '
                      f'end="{min(start + PART, size) - 1}"/><key>part.{i}</key>{urls}</part>')
        return ("<?xml version='1.0' encoding='UTF-8'?><manifest><version>2010-11-15</version>"
                f"<file-format>{self.form}</file-format><importer><name>test</name><version>1"
                f"</version><release>0</release></importer><self-destruct-url>{self.base}/manifest.xml"
                f"</self-destruct-url><import><size>{size}</size><volume-size>{self.gib}"
                f"</volume-size><parts count=\"{len(starts)}\">{parts}</parts></import></manifest>"
                ).encode()

    def _handler(self):
        upload = self

        class Handler(ranged.Handler):
            def answer(self, body):
                if upload.missing or self.path.startswith("/none"):
                    self.send_error(404)
                    return
                self.wfile.write(self.answer_head(body))

            def do_GET(self):  # noqa: N802
                path = self.path.split("?")[0]
                if path == "/manifest.xml":
                    self.answer(upload._manifest())
                    return
                i = int(path.rsplit(".", 1)[1])
                last = (i + 1) * PART >= len(upload.data)
                while (self.command == "GET" and upload.closed is not None and i >= upload.closed
                       and not last and not upload.gate.is_set()):
                    upload.waiting.set()
                    upload.gate.wait(0.02)
                self.answer(upload.data[i * PART:(i + 1) * PART])

            do_HEAD = do_GET

        return Handler
