"""ranged - what small HTTP servers of uploads share: quiet, deaf to clients that leave, with ranges."""
import http.server


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:  # who asked is gone
            pass

    def answer_head(self, body, **fields):
        """Status and fields of an answer with body, or with the range of it that is asked for; the bytes
        that follow, none for HEAD."""
        first, last = 0, len(body) - 1
        if self.headers["Range"]:
            ends = self.headers["Range"].split("=")[1].split("-")
            first, last = int(ends[0]), min(int(ends[1]) if ends[1] else last, last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        else:
            self.send_response(200)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        return body[first:last + 1] if self.command == "GET" else b""
