"""A store that is down for a while, with a hundred active tasks on three services of two workers each: how often
it is asked after the first minute, how soon work goes on when it is back, and that no task is lost to it.

usage: store-down.py [SECONDS]        (at least 90; 150 when it is not given)"""
import concurrent.futures
import http.server
import os
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import FORM  # noqa: E402

SERVICES, TASKS = 3, 100
LIMIT_PER_S, LIMIT_BACK_S = 2, 20
DEADLINE_S = 600
IMAGE = os.urandom(65536)


class Store:
    """One raw upload for all; down: every request is answered with 503."""

    def __init__(self):
        self.down, self.asked, self.first = True, [], None
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                if store.down:
                    store.asked.append(time.monotonic())
                    self.answer(503, b"")
                    return
                store.first = store.first or time.monotonic()
                self.answer(200, IMAGE if self.path.startswith("/part") else store.manifest)

            do_HEAD = do_GET

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.url = base + "/manifest"
        urls = "".join(f"<{verb}-url>{base}/part</{verb}-url>" for verb in ("head", "get", "delete"))
        self.manifest = (
            "<?xml version='1.0' encoding='UTF-8'?><manifest><version>2010-11-15</version><file-format>RAW"
            f"</file-format><self-destruct-url>{self.url}</self-destruct-url><import><size>{len(IMAGE)}</size>"
            f'<volume-size>1</volume-size><parts count="1"><part index="0"><byte-range start="0" '
            f'end="{len(IMAGE) - 1}"/><key>part</key>{urls}</part></parts></import></manifest>').encode()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def call(one, parameters):
    host = urllib.parse.urlsplit(one.env["EC2_URL"]).netloc
    body = urllib.parse.urlencode({"Version": "2016-11-15", **parameters}).encode()
    answer = sign.send(host, "POST", "/", sign.v4(one.env["AWS_ACCESS_KEY_ID"], one.env["AWS_SECRET_ACCESS_KEY"],
                                                 "POST", host, "/", "", body, FORM), body)
    assert answer.status == 200, answer.text
    return xml.fromstring(answer.body)


def states(one):
    tree = call(one, {"Action": "DescribeConversionTasks"})
    return [item.text for item in tree.iter() if item.tag.endswith("}state")]


def submit(one, url, count):
    for _ in range(count):
        call(one, {"Action": "ImportVolume", "AvailabilityZone": "standalone", "Image.Format": "RAW",
                   "Image.Bytes": str(len(IMAGE)), "Volume.Size": "1", "Image.ImportManifestUrl": url})


def main(seconds=150):
    store = Store()
    services = [service.Service(config="max-active-tasks = 100\nworkers = 2\n") for _ in range(SERVICES)]
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda i: submit(services[i], store.url, len(range(i, TASKS, SERVICES))),
                          range(SERVICES)))
        start = time.monotonic()
        service.wait_for(lambda: time.monotonic() - start >= seconds, 2 * seconds)
        late = [at for at in store.asked if at > start + 60]
        rate = len(late) / (seconds - 60)
        back = time.monotonic()
        store.down = False
        service.wait_for(lambda: store.first, DEADLINE_S)
        first = store.first - back
        service.wait_for(lambda: [s for one in services for s in states(one)] == ["completed"] * TASKS, DEADLINE_S)
        print(f"store-down: {len(store.asked)} requests in {seconds} s, {rate:.2f} a second after the first minute; "
              f"work went on {first:.1f} s after the store was back; {TASKS} of {TASKS} tasks were completed "
              f"{time.monotonic() - back:.0f} s after it")
        assert rate <= LIMIT_PER_S, rate
        assert first <= LIMIT_BACK_S, first
    finally:
        for one in services:
            one.stop()
    return 0


sys.exit(main(*(int(argument) for argument in sys.argv[1:2])))
