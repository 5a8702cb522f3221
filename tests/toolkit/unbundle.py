#!/usr/bin/python3
"""Bundles made by openssl, tar and gzip are read to the byte; each defect of parts, gzip or tar is refused
by its own sentence, beside a neighbour that lacks it, and nothing is left of it."""
import gzip
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import bundles  # noqa: E402
from bundles import IMAGE, Bundle, tar_of  # noqa: E402


class Good(bundles.Reading):
    def test_sizes(self):
        for size in 0, 1, 511, 512, 513, 10240, len(IMAGE):
            bundle = Bundle(self.keys, IMAGE[:size])
            self.accepted(bundle, image=IMAGE[:size])
        done = 0
        tar = tar_of(IMAGE[:3000])
        for extra in range(16):  # a gzip file of whole blocks, and all others
            packed = bytearray(gzip.compress(tar, 1))
            packed[3] |= 4  # an extra field
            packed[10:10] = struct.pack("<H", extra) + bytes(extra)
            bundle = Bundle(self.keys, IMAGE[:3000], tar=tar, packed=bytes(packed), part_size=1008)
            done += len(packed) % 16 == 0
            if len(packed) % 16 in (0, 1, 15):
                self.accepted(bundle, image=IMAGE[:3000])
        self.assertEqual(done, 1)

    def test_parts(self):
        whole = self.bundle()
        for part_size in 1, 16, 1000, len(whole.sealed) // 4, len(whole.sealed) - 1, len(whole.sealed):
            if part_size < 1000:
                bundle = Bundle(self.keys, b"x" * 3000, part_size=part_size)
                self.accepted(bundle, image=b"x" * 3000)
            else:
                self.accepted(self.bundle(part_size=part_size))

    def test_kinds_of_tar(self):
        long_name = "n" * 150
        for tar in (tar_of(IMAGE, "--format=pax"), tar_of(IMAGE, "--format=ustar"),
                    tar_of(IMAGE, "--format=v7"), tar_of(IMAGE, "--format=gnu", name=long_name),
                    tar_of(IMAGE, "--format=pax", name=long_name),
                    tar_of(IMAGE, "--format=posix", "--pax-option=comment:=" + "c" * 5000),
                    # names mean nothing, and lead nowhere
                    tar_of(IMAGE, "-P", "--transform=s,.*,%s," % self.path("out", "evil")),
                    tar_of(IMAGE, "-P", "--transform=s,.*,../../evil,")):
            self.accepted(self.bundle(tar=tar))
        self.assertFalse(os.path.exists(self.path("out", "evil")))

    def test_large_sizes_of_members(self):
        """GNU's binary size, and that of pax; beyond what eleven octal digits hold, too."""
        image = b"abc" * 1000
        tar = bytearray(tar_of(image, "--format=gnu"))
        tar[124:136] = b"\x80" + bytes(3) + struct.pack(">Q", len(image))
        tar[148:156] = b" " * 8
        tar[148:156] = b"%06o\0 " % sum(tar[:512])
        self.accepted(Bundle(self.keys, image, tar=bytes(tar)), image=image)
        tar[124:136] = b"\x80" + bytes(3) + struct.pack(">Q", 9 << 30)
        tar[148:156] = b" " * 8
        tar[148:156] = b"%06o\0 " % sum(tar[:512])
        bundle = Bundle(self.keys, image, tar=bytes(tar))
        self.refused(bundle, "holds 9663676416 bytes, but its manifest says")

        def pax(records, size):
            header = bytearray(tar_of(image, "--format=ustar"))
            header[124:136] = b"%011o\0" % size
            extended = bytearray(header[:512])
            extended[124:136] = b"%011o\0" % len(records)
            extended[156:157] = b"x"
            for block in header, extended:
                block[148:156] = b" " * 8
                block[148:156] = b"%06o\0 " % sum(block[:512])
            return bytes(extended + records.ljust(512, b"\0") + header)

        self.accepted(Bundle(self.keys, image, tar=pax(b"13 size=3000\n", 0)), image=image)
        self.accepted(Bundle(self.keys, image, tar=pax(b"12 mtime=77\n13 size=3000\n", 5)), image=image)
        self.accepted(Bundle(self.keys, image, tar=pax(b"12 mtime=77\n", 3000)), image=image)
        for records in b"13 size=3001\n", b"13 size=+300\n", b"14 size=3000\n", b"1 size=3000\n", b"size=3000\n":
            self.refused(Bundle(self.keys, image, tar=pax(records, 3000)),
                         "cannot be opened by this key|holds 3001 bytes")

    def test_joined_gzip_members(self):
        tar = tar_of(IMAGE)
        self.accepted(self.bundle(tar=tar, packed=gzip.compress(tar[:1000]) + gzip.compress(tar[1000:])))

    def test_recipients(self):
        bundle = self.bundle()
        self.accepted(bundle)
        self.accepted(bundle, "--recipient", "cloud", key="cloud")
        self.refused(bundle, "cannot be opened by this key", key="cloud")
        self.refused(bundle, "cannot be opened by this key", key="other")

    def test_pipe_and_job(self):
        bundle = self.bundle(part_size=60000)
        path = bundle.write(self.path("in"))
        one = subprocess.Popen([bundles.TOOLKIT, "unbundle", "--key", self.keys.key("user"), path, "-"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        two = self.run_toolkit("convert", "-f", "raw", "-O", "raw", "-", self.out, stdin=one.stdout)
        self.assertIn(b"warning: without --cert", one.communicate()[1])
        self.assertEqual((one.returncode, two.returncode), (0, 0), two.stderr)
        with open(self.out, "rb") as file:
            self.assertEqual(file.read(), IMAGE)

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_vmdk_in_a_bundle(self):
        """Decrypted, inflated and decoded in one pass."""
        raw, vmdk = self.path("in", "a.raw"), self.path("in", "a.vmdk")
        data = IMAGE.ljust(1 << 20, b"\0")
        with open(raw, "wb") as file:
            file.write(data)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                        "subformat=streamOptimized", raw, vmdk], check=True)
        with open(vmdk, "rb") as file:
            bundle = Bundle(self.keys, file.read(), part_size=60000)
        stage = {"name": "unbundle", "manifest": bundle.write(self.path("in")),
                 "key": self.keys.key("user"), "cert": self.keys.crt("user")}
        done = self.run_toolkit("run", input=json.dumps(
            {"format": "vmdk", "store": self.out, "stages": [stage]}).encode())
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        with open(self.out, "rb") as file:
            self.assertEqual(file.read(), data)
        self.no_secret(done, bundle.key, bundle.vector)


class Parts(bundles.Reading):
    def test_damage(self):
        bundle = self.bundle(part_size=60000)
        path = bundle.write(self.path("in"))
        part = self.path("in", "img.part.01")
        self.accepted(bundle, manifest=path)
        with open(part, "r+b") as file:
            file.seek(100)
            byte = file.read(1)
            file.seek(100)
            file.write(bytes([byte[0] ^ 1]))
        self.refused(bundle, "part 2 of 3 .'img.part.01'. has SHA-1 ", manifest=path)
        os.unlink(part)
        self.refused(bundle, "cannot open part 2 of 3 .'img.part.01'.: No such file", status=3, manifest=path)
        os.symlink("img.part.02", part)
        self.refused(bundle, "cannot open part 2 of 3", manifest=path)
        os.unlink(part)
        os.mkfifo(part)
        self.refused(bundle, "is not a regular file", manifest=path)

    def test_swapped(self):
        bundle = self.bundle(part_size=60000)
        self.assertEqual(len(bundle.parts), 3)
        bundle.parts[0], bundle.parts[1] = bundle.parts[1], bundle.parts[0]
        self.refused(bundle, "part 1 of 3 .'img.part.00'. has SHA-1")
        # and swapped together with their digests, by somebody who may sign
        bundle.digests[0], bundle.digests[1] = bundle.digests[1], bundle.digests[0]
        self.refused(bundle, "cannot be opened by this key")

    def test_sizes(self):
        bundle = self.bundle(part_size=60000)
        bundle.bundled_size += 16
        self.refused(bundle, "the parts have %d bytes, but the manifest says" % len(bundle.sealed))
        bundle.bundled_size -= 32
        self.refused(bundle, "the parts have %d bytes, but the manifest says" % len(bundle.sealed))
        for size in len(IMAGE) - 1, len(IMAGE) + 1, 0:
            bundle = self.bundle()
            bundle.size = size
            self.refused(bundle, "holds %d bytes, but its manifest says that the image has %d" % (
                len(IMAGE), size))

    def test_last_block(self):
        whole = self.bundle()
        for sealed, saying in ((whole.sealed[:-16], "is damaged|ends early"),
                               (whole.sealed[:-32], "is damaged|ends early"),
                               (whole.sealed[:-1], "no whole AES blocks")):
            bundle = self.bundle(sealed=sealed)
            bundle.key, bundle.vector = whole.key, whole.vector
            self.refused(bundle, saying)
        # the gzip file is whole, but the block behind it is no padding
        tar = tar_of(IMAGE)
        for last, saying in (bytes([16] * 16), None), (bytes(16), "the end of the last part is damaged"):
            packed = bytearray(gzip.compress(tar, 1))
            extra = (-len(packed) - 2) % 16
            packed[3] |= 4  # an extra field
            packed[10:10] = struct.pack("<H", extra) + bytes(extra)
            bundle = self.bundle(tar=tar, sealed=bundles.openssl(
                "enc", "-aes-128-cbc", "-nopad", "-K", "0" * 32, "-iv", "0" * 32, data=packed + last))
            bundle.key = bundle.vector = "0" * 32
            if saying:
                self.refused(bundle, saying)
            else:
                self.accepted(bundle)

    def test_image_digest(self):
        bundle = self.bundle()
        bundle.digest = ("1" if bundle.digest[0] == "0" else "0") + bundle.digest[1:]
        self.refused(bundle, "it is not what was bundled")


class Tars(bundles.Reading):
    def of(self, *options, prepare):
        image = IMAGE[:1000]
        return Bundle(self.keys, image, tar=tar_of(image, *options, prepare=prepare))

    def test_members(self):
        def linked(top):
            os.symlink("image.raw", os.path.join(top, "link"))
            return ["link"]

        def two(top):
            shutil.copy(os.path.join(top, "image.raw"), os.path.join(top, "two"))
            return ["image.raw", "two"]

        def hard(top):
            os.link(os.path.join(top, "image.raw"), os.path.join(top, "two"))
            return ["image.raw", "two"]

        def sparse(top):
            os.truncate(os.path.join(top, "image.raw"), 1 << 20)
            return ["image.raw"]

        def fifo(top):
            os.mkfifo(os.path.join(top, "fifo"))
            return ["fifo"]

        def directory(top):
            return ["."]

        self.refused(self.of(prepare=linked), "holds a symbolic link; only one regular file")
        self.refused(self.of(prepare=two), "holds more than one file")
        self.refused(self.of(prepare=hard), "holds more than one file")
        self.refused(self.of(prepare=fifo), "holds a pipe")
        self.refused(self.of(prepare=directory), "holds a directory")
        self.refused(self.of("-S", prepare=sparse), "holds a sparse file")
        self.refused(self.of("-S", "--format=pax", prepare=sparse), "sparse")

    def test_ends(self):
        tar = tar_of(IMAGE)
        self.refused(Bundle(self.keys, b"x", tar=bytes(10240)), "holds no file")
        self.refused(Bundle(self.keys, b"x", tar=b""), "cannot be opened by this key")
        self.refused(self.bundle(tar=tar[:len(IMAGE)]), "the tar file in it ends early")
        end = -(-len(IMAGE) // 512) * 512 + 512
        self.refused(self.bundle(tar=tar[:end]), "has no end")
        self.refused(self.bundle(tar=tar[:end] + bytes(1023)), "has no end")
        self.accepted(self.bundle(tar=tar[:end] + bytes(1024)))
        self.accepted(self.bundle(tar=tar[:end] + bytes(1 << 20)))
        self.refused(self.bundle(tar=tar[:end] + bytes((1 << 20) + 512)), "more than 1 MiB of zeros")
        self.refused(self.bundle(tar=tar[:end] + bytes(1024) + b"x"), "more than one file")

    def test_headers(self):
        tar = bytearray(tar_of(IMAGE))
        tar[0] ^= 1
        self.refused(self.bundle(tar=bytes(tar)), "cannot be opened by this key")
        tar = tar_of(IMAGE, "--format=posix", "--pax-option=comment:=" + "c" * 70000)
        self.refused(self.bundle(tar=tar), "cannot be opened by this key")

    def test_gzip(self):
        tar = tar_of(IMAGE)
        packed = gzip.compress(tar, 1)
        wrong = bytearray(packed)
        wrong[-8] ^= 1
        self.refused(self.bundle(tar=tar, packed=bytes(wrong)), "incorrect data check")
        self.refused(self.bundle(tar=tar, packed=packed[:-1]), "ends early")
        self.refused(self.bundle(tar=tar, packed=packed + b"x"), "gzip file in it ends early")
        self.refused(self.bundle(tar=tar, packed=packed + bytes(20)), "is damaged")
        self.refused(self.bundle(tar=tar, packed=tar), "cannot be opened by this key")

    def test_bomb(self):
        """1 GiB of zeros behind a small image: read no further than allowed, in little memory."""
        def limit():
            resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

        image = IMAGE[:1000]
        head = tar_of(image)
        packed = gzip.compress(head) + gzip.compress(bytes(64 << 20)) * 16
        bundle = Bundle(self.keys, image, tar=head, packed=packed)
        self.refused(bundle, "more than 1 MiB of zeros", preexec_fn=limit)


if __name__ == "__main__":
    unittest.main()
