#!/usr/bin/env python3
"""A web server with scripted faults.

usage: fault-server.py DIR

Serves the files of DIR on a free port of 127.0.0.1, printed as the first line of standard output,
until it is killed.  The first component of a path says what goes wrong, the rest names the file:

    /ok/NAME          nothing goes wrong: GET (with Range, If-Match), HEAD, PUT, POST, DELETE
    /FAULT/NAME       every GET of this path shows the fault
    /FAULT*2/NAME     the first two do
    /METHOD:FAULT…    requests of this method do (HEAD and DELETE of faults before a body, too), others
                      are answered rightly
    /in/FAULT,NAME    the same as /FAULT/NAME, for objects that are to lie in one directory

A fault of several parts is written a+b; a part that nothing is known of changes nothing, and makes a
path of its own.  Every request is one line of DIR/log, complete before its
answer starts: METHOD, raw target, then the headers of interest as name=value, separated by tabs.
"""

import gzip
import hashlib
import os
import re
import select
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERROR = (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code>'
         b'<Message>made up</Message></Error>')
STATUSES = (403, 404, 412, 416, 429, 500, 501, 502, 503, 504)
LOGGED = ('Accept', 'Accept-Encoding', 'Expect', 'Range', 'If-Match', 'Content-Length',
          'Content-Type', 'Host', 'X-Euca-Object-File')

lock = threading.Lock()
served = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    wbufsize = 65536
    doomed = False
    of_method = False # the path's fault is of this method alone

    def log_message(self, *args):
        pass

    def note(self):
        line = '\t'.join([self.command, self.path] + [
            '%s=%s' % (name.lower(), self.headers[name]) for name in LOGGED if name in self.headers])
        with lock:
            with open(os.path.join(root, 'log'), 'a', encoding='latin-1') as log:
                log.write(line + '\n')

    def script(self):
        """The fault to show now ('ok' when it has been shown often enough), and the file's path."""
        raw = self.path.split('?')[0]
        fault, _, name = (raw[len('/in/'):].partition(',') if raw.startswith('/in/') else
                          raw[1:].partition('/'))
        method, colon, rest = fault.partition(':')
        self.of_method = bool(colon)
        if colon and method != self.command:
            return 'ok', os.path.join(root, name.replace('/', '_'))
        fault, _, times = (rest if colon else fault).partition('*')
        with lock:
            count = served[raw] = served.get(raw, 0) + 1
        if times and count > int(times):
            fault = 'ok'
        return fault, os.path.join(root, name.replace('/', '_'))

    def answer(self, status, body=b'', headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if length != 'none':
            self.send_header('Content-Length', str(len(body) if length is None else length))
        else:
            self.send_header('Connection', 'close')
            self.close_connection = True
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
        self.wfile.flush()

    def reset(self):
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.connection.close()
        self.close_connection = True

    def hang(self):
        """Send nothing more until the client gives up."""
        self.wfile.flush()
        try:
            self.connection.recv(1)
        except OSError:
            pass
        self.close_connection = True

    def drip(self):
        """One byte a second."""
        self.connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nX-Slow: ')
        try:
            while not select.select([self.connection], [], [], 1)[0]:
                self.connection.sendall(b'x')
        except OSError:
            pass
        self.close_connection = True

    def fail_early(self, faults):
        """What goes wrong before there is a body; False: nothing."""
        if 'resetfirst' in faults:
            self.reset()
        elif 'resethead' in faults:
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Le')
            self.reset()
        elif 'silent' in faults:
            self.hang()
        elif 'drip' in faults:
            self.drip()
        else:
            for status in STATUSES:
                if str(status) in faults:
                    code = {403: b'AccessDenied', 404: b'NoSuchKey', 503: b'SlowDown'}.get(status, b'Other')
                    after = [('Retry-After', '1')] if 'after' in faults else []
                    self.answer(status, ERROR % code, after)
                    return True
            return False
        return True

    def flood(self, head):
        """An answer without an end."""
        try:
            self.connection.sendall(b'HTTP/1.1 200 OK\r\n' + head)
            while True:
                self.connection.sendall(b'x' * 65536)
        except OSError:
            self.close_connection = True

    def read_body(self):
        body = b''
        if 'Content-Length' in self.headers:
            body = self.rfile.read(int(self.headers['Content-Length']))
        return body

    def do_HEAD(self):
        self.note()
        fault, path = self.script()
        if self.of_method and self.fail_early(fault.split('+')):
            return None
        if 'bighead' in fault:
            return self.flood(b'X-Long: ')
        if 'nohead' in fault:
            return self.answer(403)
        if 'head404' in fault or not os.path.exists(path):
            return self.answer(404)
        if 'nosize' in fault:
            return self.answer(200, length='none')
        with open(path, 'rb') as file:
            body = file.read()
        if 'headshort' in fault:
            return self.answer(200, length=len(body) - 1)
        etag = hashlib.md5(body).hexdigest()
        if self.of_method:
            return self.send_object(fault.split('+'), body, [])
        headers = [] if 'noetag' in fault else [('ETag', '"%s"' % etag)]
        if 'kms' in fault.split('+'):
            headers = self.sealed(body)
        return self.answer(200, body, headers)

    def sealed(self, whole):
        """S3 with a key service: the ETag has the form of an MD5 and is none."""
        return [('ETag', '"%s"' % hashlib.md5(whole + b'sealed').hexdigest()),
                ('x-amz-server-side-encryption', 'aws:kms')]

    def told(self, path):
        """What the object store on this machine says to who asks where the object stands."""
        if 'X-Euca-Object-File' in self.headers and os.path.exists(path + '.told'):
            with open(path + '.told', encoding='latin-1') as file:
                return [('X-Euca-Object-File', file.read())]
        return []

    def do_GET(self):
        self.note()
        fault, path = self.script()
        faults = fault.split('+')
        if self.fail_early(faults):
            return None
        if 'endless' in faults:
            return self.flood(b'\r\n')
        if 'nosuchkey' in faults:
            return self.answer(200, ERROR % b'NoSuchKey')
        if 'bigerror' in faults:
            return self.answer(403, b'x' * 300000)
        if not os.path.exists(path):
            return self.answer(404, ERROR % b'NoSuchKey')
        with open(path, 'rb') as file:
            whole = file.read()
        return self.send_object(faults, whole, self.told(path) if 'told' in faults else [])

    def send_object(self, faults, whole, told):
        etag = hashlib.md5(whole).hexdigest()
        if 'kms' in faults:
            etag = hashlib.md5(whole + b'sealed').hexdigest()
        if 'changed' in faults:
            etag = hashlib.md5(b'changed').hexdigest()
        if 'If-Match' in self.headers and self.headers['If-Match'] != '"%s"' % etag:
            return self.answer(412, ERROR % b'PreconditionFailed')
        status, body, headers = 200, whole, []
        match = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('Range', ''))
        if match and 'norange' not in faults:
            first, last = int(match[1]), min(int(match[2]), len(whole) - 1)
            if first >= len(whole):
                return self.answer(416, headers=[('Content-Range', 'bytes */%d' % len(whole))])
            status, body = 206, whole[first:last + 1]
            if 'wrongrange' in faults:
                first, last = first + 1, last + 1
            headers.append(('Content-Range', 'bytes %d-%d/%d' % (first, last, len(whole))))
        if 'wrongetag' in faults:
            etag = hashlib.md5(whole + b'!').hexdigest()
        headers += told
        if 'kms' in faults:
            headers += self.sealed(whole)[:1 if 'quiet' in faults else 2]
        elif 'weaketag' in faults:
            headers.append(('ETag', 'W/"%s"' % etag))
        elif 'noetag' not in faults and not (status == 206 and 'forget' in faults):
            headers.append(('ETag', '"%s"' % etag))
        return self.send_body(faults, status, body, headers)

    def send_body(self, faults, status, body, headers):
        half = len(body) // 2
        if 'corrupt' in faults:
            body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1:]
        if 'short' in faults:
            body = body[:-10]
        if 'long' in faults:
            body += b'0123456789'
        if 'xml' in faults:
            body = ERROR % b'InternalError'
        if 'gzip' in faults:
            body = gzip.compress(body, 1)
            headers.append(('Content-Encoding', 'gzip'))
        if 'redirect' in faults:
            return self.answer(302, b'', [('Location', self.path.split('?')[1])])
        if 'resetbody' in faults:
            self.answer(status, body[:half], headers, len(body))
            return self.reset()
        if 'cut' in faults or ('cutwhole' in faults and status == 200):
            self.answer(status, body[:half], headers, len(body))
            self.close_connection = True
            return None
        if 'stall' in faults: # a few bytes: libcurl's speed is an average over some seconds
            self.answer(status, body[:100], headers, len(body))
            return self.hang()
        if 'dropnext' in faults: # a kept-alive connection that dies under the next request
            self.doomed = True
        return self.answer(status, body, headers, 'none' if 'nosize' in faults else None)

    def do_PUT(self):
        fault, path = self.script()
        if 'early' in fault: # refuse before the body is read
            self.note()
            self.close_connection = True
            return self.answer(403, ERROR % b'AccessDenied')
        body = self.read_body()
        self.note()
        if self.doomed:
            self.close_connection = True
            return None
        with open(path, 'wb') as file:
            file.write(body)
        return self.answer(200, headers=[('ETag', '"%s"' % hashlib.md5(body).hexdigest())])

    do_POST = do_PUT

    def do_DELETE(self):
        self.note()
        fault, path = self.script()
        if self.of_method and self.fail_early(fault.split('+')):
            return None
        if os.path.exists(path):
            os.unlink(path)
        if self.of_method and fault != 'ok':
            return self.send_body(fault.split('+'), 200, b'x' * 1000, [])
        return self.answer(204, length=None)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass # clients that leave are the point


root = sys.argv[1]
server = Server(('127.0.0.1', 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
