#!/usr/bin/env python3
"""Requests that botocore signs are accepted, and refused with another secret, body or path.

Nothing is sent: the prepared request is caught and given to sign-helper, which is found beside the
programs of the build (environment: SIGN_HELPER).  Skipped (77) without botocore."""

import hashlib
import io
import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

try:
    import botocore.session
    from botocore.config import Config
except ImportError:
    print('SKIP: python3-botocore is not installed')
    sys.exit(77)

HELPER = os.environ.get('SIGN_HELPER', './toolkit/sign-helper')
KEY, SECRET = 'AKIDEXAMPLE', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
ODD_KEY = 'a b/c+d=e&f~g//h%2Fi/\u1234(1)\'*.img'
EMPTY = hashlib.sha256(b'').hexdigest()

# Only what is written here: no configuration, credentials or proxies of whoever runs the test.
for name in [n for n in os.environ if n.startswith(('AWS_', 'BOTO_'))]:
    del os.environ[name]
# Newer versions send uploads in signed chunks unless told otherwise; those are refused by design.
os.environ['AWS_REQUEST_CHECKSUM_CALCULATION'] = 'when_required'
os.environ['AWS_CONFIG_FILE'] = os.environ['AWS_SHARED_CREDENTIALS_FILE'] = os.devnull

failures = []
checks = 0


class Caught(Exception):
    pass


def client(service, version, endpoint, token=None):
    return botocore.session.Session().create_client(
        service, region_name='eucalyptus', endpoint_url=endpoint,
        aws_access_key_id=KEY, aws_secret_access_key=SECRET, aws_session_token=token,
        config=Config(signature_version=version, s3={'addressing_style': 'path'}))


def caught(call, made_by):
    """The request a client call would send, as (method, url, headers, body)."""
    kept = []

    def keep(request, **_):
        kept.append(request)
        raise Caught

    made_by.meta.events.register('before-send', keep)
    try:
        call()
    except Caught:
        pass
    finally:
        made_by.meta.events.unregister('before-send', keep)
    request = kept[0]
    headers = [(n, v.decode() if isinstance(v, bytes) else str(v))
               for n, v in request.headers.items()]
    body = request.body or b''
    if hasattr(body, 'read'):
        body.seek(0)
        body = body.read()
    if isinstance(body, str):
        body = body.encode()
    return request.method, request.url, headers, body


def ask(kind, secret, method, url, headers, body_hash, now=None):
    parts = urlsplit(url)
    host = [('Host', parts.netloc)] if not any(n.lower() == 'host' for n, _ in headers) else []
    lines = [kind, secret, str(int((now or time.time()) * 1000)), body_hash, method,
             parts.path or '/', parts.query] + ['%s: %s' % h for h in host + headers]
    answer = subprocess.run([HELPER], input='\n'.join(lines) + '\n', text=True, check=True,
                            stdout=subprocess.PIPE, encoding='utf-8')
    return answer.stdout.strip()


def expect(what, wanted, got):
    global checks
    checks += 1
    if got != wanted:
        failures.append('%s: wanted %r, got %r' % (what, wanted, got))


def check(what, kind, version, method, url, headers, body):
    """Right once, then wrong in several ways."""
    body_hash = hashlib.sha256(body).hexdigest()
    expect(what, version + ' ok', ask(kind, SECRET, method, url, headers, body_hash))
    wrong = version + ' SignatureDoesNotMatch'
    expect(what + ', wrong secret', wrong, ask(kind, SECRET + 'x', method, url, headers, body_hash))
    parts = urlsplit(url)
    elsewhere = parts._replace(path=parts.path + 'x').geturl()
    expect(what + ', wrong path', wrong, ask(kind, SECRET, method, elsewhere, headers, body_hash))
    other = 'GET' if method == 'DELETE' else 'DELETE'
    expect(what + ', wrong method', wrong, ask(kind, SECRET, other, url, headers, body_hash))
    if kind == 'ec2':
        expect(what + ', wrong body', wrong,
               ask(kind, SECRET, method, url, headers, hashlib.sha256(body + b'x').hexdigest()))
    else:
        changed = [(n, v + 'x' if n.lower() in ('x-amz-content-sha256', 'x-amz-meta-two') else v)
                   for n, v in headers]
        if changed != headers:
            expect(what + ', wrong header', wrong,
                   ask(kind, SECRET, method, url, changed, body_hash))


def main():
    for endpoint in 'http://127.0.0.1:8773/services/compute/', 'http://localhost/':
        ec2 = client('ec2', 'v4', endpoint)
        check('EC2 header ' + endpoint, 'ec2', 'V4', *caught(lambda: ec2.describe_conversion_tasks(
            ConversionTaskIds=['import-vol-\u00e9 +&=']), ec2))
    ec2 = client('ec2', 'v4', 'http://127.0.0.1:8773/', 'tok/en==')
    check('EC2 header, token', 'ec2', 'V4', *caught(ec2.describe_conversion_tasks, ec2))
    ec2 = client('ec2', 'v4', 'http://127.0.0.1:8773/')
    url = ec2.generate_presigned_url('describe_conversion_tasks',
                                     {'ConversionTaskIds': ['a b']}, 60)
    check('EC2 presigned', 'ec2', 'V4', 'POST', url, [], b'')

    for version, name, expired in (('s3v4', 'V4', 'V4 RequestExpired'),
                                   ('s3', 'V2', 'V2 AccessDenied')):
        for endpoint in 'http://127.0.0.1:9000', 'https://s3.example.com':
            what = 'S3 %s %s' % (name, endpoint)
            s3 = client('s3', version, endpoint)
            body = io.BytesIO(b'part')
            check(what + ' put', 's3', name, *caught(lambda: s3.put_object(
                Bucket='bucket', Key=ODD_KEY, Body=body, ContentType='image/x',
                Metadata={'Two': 'a  b'}), s3))
            check(what + ' get', 's3', name, *caught(lambda: s3.get_object(
                Bucket='bucket', Key=ODD_KEY, Range='bytes=0-9',
                ResponseContentType='text/plain; a=b'), s3))
            check(what + ' list', 's3', name, *caught(lambda: s3.list_objects(
                Bucket='bucket', MaxKeys=0, Prefix='a b+c'), s3))
            check(what + ' part', 's3', name, *caught(lambda: s3.upload_part(
                Bucket='bucket', Key='k', UploadId='a/b+c', PartNumber=3, Body=b''), s3))
            check(what + ' bucket', 's3', name,
                  *caught(lambda: s3.create_bucket(Bucket='bucket'), s3))
            for operation in 'get_object', 'head_object', 'delete_object':
                url = s3.generate_presigned_url(operation, {'Bucket': 'bucket', 'Key': ODD_KEY}, 60)
                method = operation.split('_')[0].upper()
                check('%s presigned %s' % (what, operation), 's3', name, method, url, [], b'')
                expect(what + ' expired', expired,
                       ask('s3', SECRET, method, url, [], EMPTY, time.time() + 3600))

    print('\n'.join(failures) if failures else '%d requests checked' % checks)
    return 1 if failures or checks < 100 else 0


sys.exit(main())
