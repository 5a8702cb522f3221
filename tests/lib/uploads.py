"""uploads - many uploads from one server, each of an image with contents of its own, each with a gate.

    with uploads.Uploads() as server:
        image = uploads.Image.make("VMDK", directory, megabytes, "seed")
        upload = server.add(image, 17)            # the image, with 17 written into its disk
        ... upload.url ...; upload.matches(path)  # of a volume

hold tells what no answer comes for until open(): "manifest", or the number of a part from 0; waiting
is set when somebody asked for it.  rate: bytes a second, as over a slow line.
"""
import hashlib
import http.server
import os
import random
import re
import struct
import subprocess
import threading

import ranged
import service

MIB = 1 << 20
PIECE = 16384  # of a slow line, between two looks at the gate


class Image:
    """An image file and the disk in it.  marks: where the image, and its disk, say which one it is (16
    bytes that a variant replaces); of a compressed image there are none."""

    def __init__(self, form, disk, data, mark):
        self.form, self.disk, self.data, self.mark = form, disk, data, mark
        plain = form != "VMDK"  # noise does not deflate: the mark may stand there as it is
        self.places, self.disk_places = ([m.start() for m in re.finditer(re.escape(mark), where)]
                                         if plain else [] for where in (data, disk))

    @classmethod
    def make(cls, form, directory, megabytes, seed):
        """A disk that is half noise, half zeros, and boots by its look; form: RAW, VHD or VMDK."""
        pick = random.Random(seed)
        mark = pick.randbytes(16)
        sectors = megabytes * MIB // 512
        mbr = (bytes(446) + struct.pack("<B3xB3xII", 0x80, 0x83, 1, sectors - 1) + bytes(48)
               + b"\x55\xaa")
        disk = bytearray(megabytes * MIB)
        for at in range(0, len(disk), 128 << 10):
            disk[at:at + (64 << 10)] = pick.randbytes(64 << 10)
        disk[:512] = mbr
        for at in (4096, len(disk) // 2):
            disk[at:at + 16] = mark
        raw = os.path.join(directory, f"{form}.{seed}.disk")
        with open(raw, "wb") as file:
            file.write(disk)
        if form == "RAW":
            return cls(form, bytes(disk), bytes(disk), mark)
        packed = raw + "." + form.lower()
        subprocess.run([os.environ.get("IMAGING_TOOLKIT")
                        or service.built("imaging-toolkit/imaging-toolkit"), "convert", "-f", "raw",
                        "-O", form.lower(), raw, packed], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(packed, "rb") as file:
            data = file.read()
        os.unlink(packed)
        os.unlink(raw)
        return cls(form, bytes(disk), data, mark)

    @staticmethod
    def _write(data, places, number):
        if not places:
            return data
        data = bytearray(data)
        for at in places:
            data[at:at + 16] = b"%016d" % number
        return bytes(data)

    def variant(self, number):
        return self._write(self.data, self.places, number)

    def variant_disk(self, number):
        return self._write(self.disk, self.disk_places, number)


class Upload:
    """One of a server's; made by its add()."""

    def __init__(self, base, number, image, gib, part, hold, rate):
        self.number, self.image, self.gib, self.part = number, image, gib, part
        self.hold, self.rate = hold, rate
        self.base = f"{base}/{number}"
        self.url = self.base + "/manifest.xml?Signature=very-secret"
        self.size = len(image.data)
        self.gate, self.waiting = threading.Event(), threading.Event()

    def open(self):
        self.gate.set()

    def wait_at(self, place):
        if self.hold == place and not self.gate.is_set():
            self.waiting.set()
            self.gate.wait()

    def manifest(self):
        starts = range(0, self.size, self.part)
        parts = ""
        for i, start in enumerate(starts):
            urls = "".join(f"<{verb}-url>{self.base}/part.{i}</{verb}-url>"
                           for verb in ("head", "get", "delete"))
            parts += (f'<part index="{i}"><byte-range start="{start}" '
                      f'end="{min(start + self.part, self.size) - 1}"/><key>part.{i}</key>{urls}'
                      "</part>")
        return ("<?xml version='1.0' encoding='UTF-8'?><manifest><version>2010-11-15</version>"
                f"<file-format>{self.image.form}</file-format><importer><name>test</name>"
                "<version>1</version><release>0</release></importer>"
                f"<self-destruct-url>{self.base}/manifest.xml</self-destruct-url>"
                f"<import><size>{self.size}</size><volume-size>{self.gib}</volume-size>"
                f'<parts count="{len(starts)}">{parts}</parts></import></manifest>').encode()

    def content(self, name, body_wanted):
        """The bytes of what the URL names; None when there is no such thing."""
        if name == "manifest.xml":
            self.wait_at("manifest")
            return self.manifest()
        found = re.fullmatch(r"part\.([0-9]+)", name)
        if not found or int(found[1]) * self.part >= self.size:
            return None
        part = int(found[1])
        if body_wanted:
            self.wait_at(part)
        return self.image.variant(self.number)[part * self.part:(part + 1) * self.part]

    def disk(self):
        return self.image.variant_disk(self.number)

    def matches(self, path):
        """None when the volume is the disk and then zeros, else what is wrong."""
        wanted = self.disk()
        with open(path, "rb") as volume:
            size = os.fstat(volume.fileno()).st_size
            if size != self.gib << 30:
                return f"{path} has {size} bytes instead of {self.gib << 30}"
            if hashlib.sha256(volume.read(len(wanted))).digest() != hashlib.sha256(wanted).digest():
                return f"{path} is not upload {self.number}, {self.image.form}"
            at = len(wanted)
            while True:  # what is allocated behind it must be zeros
                try:
                    at = os.lseek(volume.fileno(), at, os.SEEK_DATA)
                except OSError:
                    return None
                volume.seek(at)
                piece = volume.read(MIB)
                if not piece:
                    return None
                if piece.strip(b"\0"):
                    return f"{path} has bytes behind the disk, near {at}"
                at += len(piece)


class Uploads:
    def __init__(self):
        self.uploads = {}
        self.server = _Server(("127.0.0.1", 0), self._handler())
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def add(self, image, number, gib=1, part=MIB, hold=None, rate=0):
        upload = self.uploads[number] = Upload(self.base, number, image, gib, part, hold, rate)
        return upload

    def stop(self):
        for upload in self.uploads.values():
            upload.open()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def _handler(self):
        uploads = self.uploads

        class Handler(ranged.Handler):
            disable_nagle_algorithm = True
            wbufsize = 65536

            def find(self):
                found = re.fullmatch(r"/([0-9]+)/([a-z.0-9]+)", self.path.split("?")[0])
                upload = found and uploads.get(int(found[1]))
                return upload, upload and upload.content(found[2], self.command == "GET")

            def do_GET(self):  # noqa: N802
                upload, body = self.find()
                if body is None:
                    self.send_error(404)
                    return
                self.send_slowly(upload, self.answer_head(
                    body, ETag='"%s"' % hashlib.md5(body).hexdigest()))

            def send_slowly(self, upload, body):
                step = PIECE if upload.rate else max(len(body), 1)
                for at in range(0, len(body), step):
                    if upload.rate and not upload.gate.is_set():
                        upload.waiting.set()
                        upload.gate.wait(step / upload.rate)
                    self.wfile.write(body[at:at + step])
                    self.wfile.flush()

            do_HEAD = do_GET

        return Handler


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass  # clients that leave are the point
