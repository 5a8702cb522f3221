"""sign - signatures made by hand, from their specifications, and requests sent byte by byte.

Nothing of the project and nothing of botocore is in here, so that their mistakes do not cancel out; and
every piece can be given a wrong value.
"""
import base64
import hashlib
import hmac
import http.client
import socket
import time
import urllib.parse
import uuid

EMPTY = hashlib.sha256(b"").hexdigest()


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def amz_date(when):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when))


def _key(secret, date, region, service):
    key = ("AWS4" + secret).encode()
    for part in (date[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _canonical_query(query):
    return "&".join(f"{quote(k)}={quote(v)}" for k, v in
                    sorted(urllib.parse.parse_qsl(query, keep_blank_values=True)))


def v4_signature(secret, scope, date, method, path, query, headers, signed, payload):
    region, service = scope
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in signed)
    canonical = "\n".join((method, path, _canonical_query(query), lines, ";".join(signed), payload))
    text = "\n".join(("AWS4-HMAC-SHA256", date, f"{date[:8]}/{region}/{service}/aws4_request",
                      hashlib.sha256(canonical.encode()).hexdigest()))
    return hmac.new(_key(secret, date, region, service), text.encode(), hashlib.sha256).hexdigest()


def v4(key, secret, method, host, path, query="", body=b"", headers=None, when=None, service="ec2",
       region="undefined-4711", payload=None, drop=()):
    """Headers (lower case) of a request signed in its Authorization header, with the name of the call that
    SDKs send unsigned.  payload: the hash to sign, that of the body by default; drop: names left out of
    SignedHeaders."""
    date = amz_date(time.time() if when is None else when)
    payload = payload or hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-date": date, **(headers or {})}
    if service == "s3":
        headers.setdefault("x-amz-content-sha256", payload)
    signed = sorted(set(headers) - set(drop))
    signature = v4_signature(secret, (region, service), date, method, path, query, headers, signed,
                             payload)
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{date[:8]}/{region}/{service}/aws4_request, "
        f"SignedHeaders={';'.join(signed)}, Signature={signature}")
    return {"amz-sdk-invocation-id": str(uuid.uuid4()), **headers}


def v4_presigned(key, secret, method, host, path, when=None, expires=600, service="s3",
                 parameters=None, body=b""):
    """The query string of a presigned request that signs only Host, and for other services than S3
    the body."""
    date = amz_date(time.time() if when is None else when)
    query = urllib.parse.urlencode({
        **(parameters or {}),
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key}/{date[:8]}/us-east-1/{service}/aws4_request",
        "X-Amz-Date": date, "X-Amz-Expires": expires, "X-Amz-SignedHeaders": "host"})
    payload = "UNSIGNED-PAYLOAD" if service == "s3" else hashlib.sha256(body).hexdigest()
    return query + "&X-Amz-Signature=" + v4_signature(
        secret, ("us-east-1", service), date, method, path, query, {"host": host}, ["host"], payload)


def _v2(secret, text):
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _amz(amz):
    """Header lines that the old S3 way signs."""
    return [f"{name}:{value}" for name, value in sorted((amz or {}).items())]


def v2(key, secret, method, resource, when=None, md5="", kind="", amz=None):
    """Headers of a request signed the old S3 way, with a date as stock euca2ools writes it; amz: its
    x-amz- headers, lower case."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S -0000",
                         time.gmtime(time.time() if when is None else when))
    headers = {"date": date,
               "authorization": f"AWS {key}:" + _v2(
                   secret, "\n".join([method, md5, kind, date, *_amz(amz), resource]))}
    return {**headers, **(amz or {}), **({"content-md5": md5} if md5 else {}),
            **({"content-type": kind} if kind else {})}


def v2_presigned(key, secret, method, resource, expires, amz=None):
    """The query of a presigned request; amz stands in it as botocore writes it."""
    signature = _v2(secret, "\n".join([method, "", "", str(expires), *_amz(amz), resource]))
    return urllib.parse.urlencode({"AWSAccessKeyId": key, "Expires": expires,
                                   "Signature": signature, **(amz or {})})


def v2_query(key, secret, method, host, path, parameters, digest="SHA256", when=None, **more):
    """Parameters of a query API with their Signature Version 2; `more` replaces or (None) takes away
    what a signer adds."""
    when = time.time() if when is None else when
    added = {"AWSAccessKeyId": key, "SignatureVersion": "2", "SignatureMethod": "Hmac" + digest,
             "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when)), **more}
    signed = {**parameters, **{k: v for k, v in added.items() if v is not None}}
    text = "\n".join((method, host.lower(), path, "&".join(
        f"{quote(k)}={quote(v)}" for k, v in sorted((k.encode(), v.encode())
                                                    for k, v in signed.items()))))
    mac = hmac.new(secret.encode(), text.encode(), getattr(hashlib, digest.lower())).digest()
    return {**signed, "Signature": base64.b64encode(mac).decode()}


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def text(self):
        return self.body.decode()


def send(host, method, target, headers=None, body=None):
    """One request over a connection of its own; http.client adds Host and Content-Length."""
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, target, body, headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def open_socket(host):
    name, port = host.rsplit(":", 1)
    return socket.create_connection((name, int(port)), timeout=30)


def raw(host, data, end=True):
    """Send these very bytes, and (end) say that no more will come; all that comes back."""
    with open_socket(host) as s:
        answer = b""
        try:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
            while True:
                piece = s.recv(65536)
                if not piece:
                    return answer
                answer += piece
        except TimeoutError:
            raise
        except OSError:  # the server has hung up already
            return answer


def rest(s):
    """All that comes until the other side hangs up."""
    answer = b""
    try:
        while piece := s.recv(65536):
            answer += piece
    except ConnectionError:
        pass
    return answer


def head(method, target, headers):
    """The bytes of a request's head."""
    lines = [f"{method} {target} HTTP/1.1"] + [f"{k}: {v}" for k, v in headers.items()]
    return "\r\n".join(lines + ["", ""]).encode("latin-1")
