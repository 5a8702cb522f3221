#!/usr/bin/python3
"""image - what the clients find out about a file before anything is sent: its format, the size of its
disk, its faults.

A stand-in for EC2 answers dry runs, keeps what it was asked, and is asked nothing where a file is
refused.  The toolkit is the real one; scripts are in its place where it fails."""
import glob
import gzip
import http.server
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
sys.path.insert(0, LIB)
import euca  # noqa: E402
import packed  # noqa: E402
import service  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
DISK = 4 * MIB
DEADLINE = 30
NOBODY = 65534

# -f, the kind make-disk makes, what the client calls it
KINDS = [("vmdk", "vmdk-stream", "a VMDK"), ("vmdk", "vmdk-vmware", "a VMDK"),
         ("vhd", "vhd-dyn-force", "a VHD"), ("vhd", "vhd-fixed-force", "a VHD"),
         ("vhdx", "vhdx", "a VHDX"), ("qcow2", "qcow2", "a QCOW2 image"), ("vdi", "vdi", "a VDI")]
BY_TOOLKIT = {"vhdx", "qcow2", "vdi"}


class Ec2(http.server.BaseHTTPRequestHandler):
    asked = []

    def log_message(self, *_):
        pass

    def do_POST(self):  # noqa: N802
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append(dict(urllib.parse.parse_qsl(form)))
        answer = (b"<Response><Errors><Error><Code>DryRunOperation</Code><Message>m</Message>"
                  b"</Error></Errors></Response>")
        self.send_response(412)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_any(self):
        if self.path != "/b?max-keys=0":  # a look at the bucket, which changes nothing
            self.asked.append({"": self.command})
        self.send_error(404)

    do_GET = do_HEAD = do_PUT = do_any


def make_disk(what, path, *more):
    done = subprocess.run([LIB + "/make-disk", what, path, *map(str, more)], check=False)
    if done.returncode == 77:
        print("skipped: a tool of make-disk's is not installed")
        sys.exit(77)
    assert done.returncode == 0, what


def write(path, data, mode=0o644):
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(path, mode)
    return path


class Images(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = tempfile.mkdtemp(prefix="image.")
        cls.addClassCleanup(shutil.rmtree, cls.made)
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ec2)
        cls.server.daemon_threads = True
        threading.Thread(target=cls.server.serve_forever, args=(0.02,), daemon=True).start()
        cls.addClassCleanup(cls.server.server_close)
        cls.addClassCleanup(cls.server.shutdown)
        cls.raw = cls.made + "/raw"
        make_disk("edges", cls.raw, DISK // MIB)
        for _, kind, _ in KINDS:
            make_disk(kind, f"{cls.made}/{kind}", cls.raw)
        with open(cls.raw, "rb") as raw, open(cls.made + "/vmdk-stream", "rb") as vmdk:
            disk, stream = raw.read(), vmdk.read()
        write(cls.made + "/ova", packed.ova(stream, DISK))
        for form, pack in (("gz", gzip.compress), ("xz", packed.xz),
                           ("zip", lambda data: packed.zip_of(("disk", data)))):
            write(f"{cls.made}/raw.{form}", pack(disk))

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="image.")
        self.addCleanup(shutil.rmtree, self.tmp)
        os.chmod(self.tmp, 0o755)
        Ec2.asked.clear()

    # --- running the client

    def start(self, *args, command="euca-import-volume", env=None, user=None):
        url = "http://127.0.0.1:%d" % self.server.server_port
        here = {"TMPDIR": self.tmp, "HOME": self.tmp, "EC2_URL": url, "S3_URL": url, "AWS_ACCESS_KEY_ID": "A",
                "AWS_SECRET_ACCESS_KEY": "S", "IMAGING_TOOLKIT": TOOLKIT, **(env or {})}
        return euca.start(here, command, *args, cwd=self.tmp, user=user)

    def run_client(self, form, path, *options, **how):
        return euca.finish(self.start("-f", form, "-z", "z", "-b", "b", "--dry-run", *options, path, **how))

    def sent(self, form, path, wanted, *options, **how):
        """Everything is in order, and this is what the service is asked for: format, bytes, GiB."""
        result = self.run_client(form, path, *options, **how)
        self.assertEqual(result, (0, "", ""))
        asked = Ec2.asked.pop()
        self.assertEqual((asked["Image.Format"], int(asked["Image.Bytes"]), int(asked["Volume.Size"])),
                         wanted)
        self.assertEqual(Ec2.asked, [])

    def refused(self, form, path, text, *options, status=1, lines=1, **how):
        """Nothing is sent; one line says why."""
        result = self.run_client(form, path, *options, **how)
        self.assertEqual((result[0], result[1], Ec2.asked), (status, "", []), result)
        self.assertEqual(result[2].count("\n"), lines, result)
        last = result[2].splitlines()[-1]
        self.assertTrue(last.startswith("euca-import-volume: error: " + text), result)
        return result[2]

    # --- formats and sizes

    def test_size_and_format_of_every_kind(self):
        self.sent("raw", self.raw, ("RAW", DISK, 1))
        for form, kind, _ in KINDS:
            for spelled in form, form.upper():
                wanted = spelled if form in BY_TOOLKIT else form.upper()
                self.sent(spelled, f"{self.made}/{kind}", (wanted, DISK, 1))
        for kind in "vhd-dyn-force", "vhd-fixed-force":
            self.sent("vpc", f"{self.made}/{kind}", ("VHD", DISK, 1))
        self.sent("ova", self.made + "/ova", ("ova", DISK, 1))
        self.sent("vmdk.ova", self.made + "/ova", ("vmdk.ova", DISK, 1))
        for form in "raw.xz", "raw.zip":
            self.sent(form, f"{self.made}/{form}", (form, DISK, 1))
        # Only he who unpacks it all knows the size.
        said = self.refused("raw.gz", self.made + "/raw.gz",
                            "argument --image-size is required for raw.gz files", status=2, lines=4)
        self.assertIn("known only at its end\nusage: ", said)
        self.sent("raw.gz", self.made + "/raw.gz", ("raw.gz", DISK, 1), "--image-size", str(DISK))

    def test_wrong_format_is_told(self):
        kinds = [*KINDS, ("ova", "ova", "an OVA"), ("FORMAT.gz", "raw.gz", "a gzip file"),
                 ("FORMAT.xz", "raw.xz", "an xz file"), ("FORMAT.zip", "raw.zip", "a zip file")]
        for form, kind, title in kinds:
            path = f"{self.made}/{kind}"
            give = f"give -f {form}, or " if form in ("vmdk", "vhd") else ""  # what services import
            self.refused("raw", path, f"File {path} is {title}, not RAW: {give}convert it with ")
            self.sent("raw", path, ("RAW", os.path.getsize(path), 1), "--dont-verify-format")
            if form != "vhd":
                self.refused("vhd", path, f"File {path} is {title}, not VHD: ")
            if form != "qcow2":
                self.refused("qcow2", path, f"File {path} is {title}, not qcow2: ", "--image-size", "1m")
            if form != "vmdk":  # in the words of old, and with a size in ours
                self.refused("vmdk", path, f"File {path} is not a Stream Optimized VMDK")
                self.refused("vmdk", path, f"File {path} is {title}, not VMDK: ", "--image-size", "1m")
        for form, title in (("vhd", "a VHD"), ("vhdx", "a VHDX"), ("qcow2", "a QCOW2 image"),
                            ("vdi", "a VDI"), ("ova", "an OVA"), ("raw.gz", "a gzip file")):
            self.refused(form, self.raw, f"File {self.raw} is not {title}: nothing in it says so; ",
                         "--image-size", "1g")
            self.sent(form, self.raw, ("VHD" if form == "vhd" else form, GIB, 1),
                      "--image-size", "1g", "--dont-verify-format")
        self.sent("anything", self.raw, ("anything", GIB, 1), "--image-size", "1g")

    def test_raw_disks_are_taken(self):
        for layout in "blank", "random", "checker", "mbr-ext4", "gpt-multi":
            mib = 32 if layout == "gpt-multi" else 4
            path = f"{self.tmp}/{layout}"
            make_disk(layout, path, mib)
            self.sent("raw", path, ("RAW", mib * MIB, 1))

    def test_every_disk_of_an_instance(self):
        args = ["-t", "m1.small", "-a", "x86_64", "-p", "Linux", "-b", "b", "--dry-run",
                "-f", "qcow2", "-f", "vpc", "-f", "raw"]
        disks = [f"{self.made}/{kind}" for kind in ("qcow2", "vhd-dyn-force")]
        result = euca.finish(self.start(*args, *disks, self.raw, command="euca-import-instance"))
        self.assertEqual(result, (0, "", ""))
        asked = Ec2.asked.pop()
        self.assertEqual([(asked[f"DiskImage.{n}.Image.Format"], asked[f"DiskImage.{n}.Image.Bytes"])
                          for n in (1, 2, 3)], [(form, str(DISK)) for form in ("qcow2", "VHD", "RAW")])
        result = euca.finish(self.start(*args, *disks, disks[0], command="euca-import-instance"))
        self.assertEqual((result[0], result[1], Ec2.asked), (1, "", []))
        self.assertRegex(result[2], f"^euca-import-instance: error: File {disks[0]} is a QCOW2 image, "
                         "not RAW: .*\n$")

    def test_vmdk_that_is_no_stream(self):
        for kind, text in (("vmdk-mono", "does not contain compressed parts"),
                           ("vmdk-flat", "is not a Stream Optimized VMDK")):
            path = f"{self.tmp}/{kind}"
            make_disk(kind, path, self.raw)
            self.assertEqual(self.refused("vmdk", path, f"File {path} "),
                             f"euca-import-volume: error: File {path} {text}\n")
            self.refused("raw", path, f"File {path} is a VMDK, not RAW")
            self.sent("vmdk", path, ("VMDK", DISK, 1), "--image-size", str(DISK))

    # --- the toolkit: where it is, and what it answers

    def test_without_the_toolkit(self):
        qcow2 = self.made + "/qcow2"
        for env in {"IMAGING_TOOLKIT": "/none/such"}, {"IMAGING_TOOLKIT": self.raw}:
            said = self.refused("QCOW2", qcow2, "argument --image-size is required for QCOW2 files",
                                status=2, lines=4, env=env)
            self.assertRegex(said, f"^euca-import-volume: .*{env['IMAGING_TOOLKIT']}.*\nusage: ")
            self.sent("QCOW2", qcow2, ("QCOW2", GIB, 1), "--image-size", "1G", env=env)
            self.refused("raw", self.raw, f"there is no program '{env['IMAGING_TOOLKIT']}'", "--check",
                         env=env)
            self.sent("vmdk", self.made + "/vmdk-stream", ("VMDK", DISK, 1), env=env)

    def test_where_the_toolkit_is_found(self):
        """In the build; beside the client; in PATH, of which only whole paths count."""
        qcow2, found = self.made + "/qcow2", ("qcow2", DISK, 1)
        self.sent("qcow2", qcow2, found, env={"IMAGING_TOOLKIT": None, "PATH": None})
        alone = self.tmp + "/bin/euca-import-volume"
        os.mkdir(self.tmp + "/bin")
        shutil.copy(os.path.realpath(euca.program("import-volume")), alone)
        os.mkdir(self.tmp + "/else")
        os.symlink(TOOLKIT, self.tmp + "/else/imaging-toolkit")
        env = {"IMAGING_TOOLKIT": None, "PATH": "/none::else:/"}
        said = self.refused("qcow2", qcow2, "argument --image-size is required", status=2, lines=4,
                            command=alone, env=env)
        self.assertIn("the program imaging-toolkit was not found", said)
        env["PATH"] += ":" + self.tmp + "/else"
        self.sent("qcow2", qcow2, found, command=alone, env=env)
        os.rename(self.tmp + "/else/imaging-toolkit", self.tmp + "/bin/imaging-toolkit")
        self.sent("qcow2", qcow2, found, command=alone, env=env)

    def stand_in(self, script):
        return {"IMAGING_TOOLKIT": write(self.tmp + "/toolkit", "#!/bin/sh\n" + script, 0o755)}

    def test_strange_answers(self):
        qcow2 = self.made + "/qcow2"
        for script, text in (
                ("echo no", "imaging-toolkit info answers something strange"),
                ("echo '[1]'", "imaging-toolkit info answers something strange"),
                ("""echo '{"virtual-size": -1}'""", "imaging-toolkit info answers something strange"),
                ("""echo '{"virtual-size": "1"}'""", "imaging-toolkit info answers something strange"),
                ("head -c 70000 /dev/zero", "imaging-toolkit info answers something strange"),
                (":", "imaging-toolkit info answers something strange"),
                ("""echo '{"virtual-size": 0}'""", f"File {qcow2} holds a disk of 0 bytes"),
                ("""echo '{"virtual-size": 9223372036854775807}'""",
                 f"File {qcow2} holds a disk of 9223372036854775807 bytes, larger than any volume"),
                ("echo >&2; echo 'imaging-toolkit: error: it is bad' >&2; exit 4",
                 f"cannot find the size of the disk in '{qcow2}': it is bad"),
                ("exit 9", f"cannot find the size of the disk in '{qcow2}': exit status 9"),
                ("kill -9 $$", f"cannot find the size of the disk in '{qcow2}': signal 9")):
            self.refused("qcow2", qcow2, text, env=self.stand_in(script))
        self.sent("qcow2", qcow2, ("qcow2", 25, 1),
                  env=self.stand_in("""echo '{"virtual-size": 25}'; env >&2; [ -z "$AWS_SECRET_ACCESS_KEY" ]"""))
        said = self.refused("qcow2", qcow2, "argument --image-size is required for qcow2 files", status=2,
                            lines=4, env=self.stand_in("echo 'imaging-toolkit: error: no qemu-img' >&2; exit 7"))
        self.assertIn("': no qemu-img\nusage: ", said)

    def test_names_that_the_toolkit_could_take_for_others(self):
        for name in b"-", b"--help", b"file:x", b"http://127.0.0.1:9/x", b"d\xff/x":
            path = os.path.join(self.tmp.encode(), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copy(self.made + "/qcow2", path)
            before = [b"--"] if name.startswith(b"--") else []
            process = self.start("-f", "qcow2", "-z", "z", "-b", "b", "--dry-run", *before, name)
            self.assertEqual(euca.finish(process), (0, "", ""), name)
            self.assertEqual(Ec2.asked.pop()["Image.Bytes"], str(DISK))

    # --- --check

    def test_check(self):
        good = self.tmp + "/good"
        make_disk("mbr-ext4", good, 8)
        instance = ("-t", "t", "-a", "x86_64", "-p", "Linux", "-b", "b", "--dry-run", "--check", "-f", "raw")
        status, out, err = euca.finish(self.start(*instance, good, command="euca-import-instance"))
        self.assertEqual((status, out, Ec2.asked), (1, "", []), err)
        self.assertRegex(err, "(?m)^error   check-boot-code: ")
        self.assertEqual(err.splitlines()[-1], f"euca-import-instance: error: imaging-toolkit check refuses '{good}': "
                         "nothing was sent; mend what it found, or leave --check out")
        with open(good, "r+b") as disk:  # what stands for boot code
            disk.write(b"\xeb\x63\x90" + b"code" * 20)
        qcow2 = self.tmp + "/good.qcow2"
        make_disk("qcow2", qcow2, good)
        for args, command in ((("-f", "qcow2", "-z", "z", "-b", "b", "--dry-run", "--check", qcow2), "euca-import-volume"),
                              ((*instance, good, self.raw), "euca-import-instance")):
            status, out, err = euca.finish(self.start(*args, command=command))
            self.assertEqual((status, out, len(Ec2.asked)), (0, "", 1), err)
            self.assertRegex(err, "(?m)^warning check-kernel: ")
            Ec2.asked.clear()
        # From the second disk no machine boots: what is wrong with data is asked, and nothing more.
        self.assertRegex(err, f"(?m)^{self.raw}: raw, .*\n(.*\n)*ok      check-gpt: ")
        self.assertNotIn("\nerror ", err)

    def test_check_of_data(self):
        """A volume need not boot; but what is damaged is refused."""
        status, out, err = self.run_client("raw", self.raw, "--check")
        self.assertEqual((status, out, len(Ec2.asked)), (0, "", 1), err)
        Ec2.asked.clear()
        broken = self.tmp + "/broken"
        make_disk("gpt-multi", broken, 32)
        with open(broken, "r+b") as disk:
            disk.seek(512 + 56)  # the disk's GUID, which the CRC of the GPT's header covers
            disk.write(bytes(16))
        status, out, err = self.run_client("raw", broken, "--check")
        self.assertEqual((status, out, Ec2.asked), (1, "", []), err)
        self.assertRegex(err, "(?m)^error   check-gpt: ")

    def test_size_of_raw(self):
        """The service would find it out when all was sent."""
        self.refused("raw", self.raw, "argument --image-size: a RAW image is as large as its file: "
                     f"'{self.raw}' has {DISK} bytes, not 1048576", "--image-size", "1m")
        self.sent("raw", self.raw, ("RAW", DISK, 1), "--image-size", str(DISK))
        self.sent("raw", self.raw, ("RAW", MIB, 1), "--image-size", "1m", "--no-upload")

    def test_check_that_cannot_look(self):
        status, out, err = self.run_client("anything", self.raw, "--check", "--image-size", "1g")
        self.assertEqual((status, out, Ec2.asked), (1, "", []), err)
        self.assertIn("check could not look at", err.splitlines()[-1])
        for script, text in (("exit 5", "(exit status 5): nothing was sent"), ("kill -9 $$", "(signal 9)")):
            said = self.refused("raw", self.raw, "imaging-toolkit check could not look", "--check",
                                env=self.stand_in(script))
            self.assertIn(text, said)
        disk = write(self.tmp + "/disk", bytes(MIB))
        self.refused("raw", disk, f"'{disk}' was written to while it was checked", "--check",
                     env=self.stand_in(f"echo x >>{disk}"))

    def test_interrupt_ends_the_toolkit(self):
        for args in ("raw", self.raw, "--check"), ("qcow2", self.made + "/qcow2"):
            pids = self.tmp + "/pids"
            env = self.stand_in(f"sleep 100 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait")
            process = self.start("-f", args[0], "-z", "z", "-b", "b", *args[2:], args[1], env=env)
            service.wait_for(lambda: os.path.exists(pids))
            process.send_signal(signal.SIGINT)
            self.assertEqual(euca.finish(process), (130, "", "euca-import-volume: error: interrupted\n"))
            with open(pids, encoding="ascii") as text:
                for pid in text.read().split():  # the orphan dies when it is its turn
                    service.wait_for(lambda pid=pid: self.state(pid) in ("", "Z", "X"))
            self.assertEqual(Ec2.asked, [])
            os.unlink(pids)

    @staticmethod
    def state(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as text:
                return text.read().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return ""

    # --- files that are none

    def test_no_usable_file(self):
        os.mkfifo(self.tmp + "/fifo")
        os.symlink("nowhere", self.tmp + "/dangling")
        os.symlink("loop", self.tmp + "/loop")
        os.symlink("fifo", self.tmp + "/to-fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.tmp + "/socket")
        for name, text in (("none", "No such file or directory: none"),
                           ("dangling", "No such file or directory: dangling"),
                           ("loop", "Too many levels of symbolic links: loop"),
                           ("x" * 300, "File name too long: " + "x" * 300),
                           (self.raw + "/x", f"Not a directory: {self.raw}/x"),
                           (".", "'.' does not have a usable file size"),
                           (self.tmp + "/", f"'{self.tmp}/' does not have a usable file size"),
                           ("fifo", "'fifo' does not have a usable file size"),
                           ("to-fifo", "'to-fifo' does not have a usable file size"),
                           ("socket", "'socket' does not have a usable file size"),
                           ("/dev/zero", "'/dev/zero' does not have a usable file size"),
                           (write(self.tmp + "/empty", b""), "'%s/empty' is empty" % self.tmp)):
            for form in "raw", "vmdk", "vhd", "qcow2":
                self.refused(form, name, text)

    def test_names(self):
        for name, shown in ((b"a\nb", "a b"), (b"a\rb", "a b"), (b"a\tb", "a b"), (b"a\x7fb", "a?b")):
            write(os.path.join(self.tmp.encode(), name), b"disk")
            self.refused("raw", name, f"the name of '{shown}' holds a control character (number {name[1]}, at place 2)")
        for name in b"\xff", b"a\x01b", "\ufffe".encode():
            write(os.path.join(self.tmp.encode(), name), b"disk")
            self.refused("raw", name, "the name of '")
        for name in "ä ö", "it's", "a&b<c>\"d", "😀":
            write(os.path.join(self.tmp, name), b"disk")
            self.sent("raw", name, ("RAW", 4, 1))

    def test_unreadable(self):
        path = write(self.tmp + "/secret", b"disk", 0)
        how = {"user": NOBODY} if os.geteuid() == 0 else {}
        program = self.tmp + "/euca-import-volume"  # the build may be where only we may look
        shutil.copy(os.path.realpath(euca.program("import-volume")), program)
        devices = [d for d in glob.glob("/dev/*") if stat.S_ISBLK(os.stat(d).st_mode) and
                   not os.stat(d).st_mode & 0o004]
        for unreadable in path, *devices[:1]:
            self.refused("raw", unreadable, f"Permission denied: {unreadable}", command=program, **how)
        os.chmod(path, 0o644)
        self.sent("raw", path, ("RAW", 4, 1), command=program, **how)

    def test_large_files(self):
        for size, gib in (TIB * 8, 8192), (TIB * 8 + 1, 8193):
            path = write(self.tmp + "/large", b"")
            try:
                os.truncate(path, size)
            except OSError as error:
                self.skipTest(f"a file of 8 TiB cannot be made here: {error}")
            self.sent("raw", path, ("RAW", size, gib))
        shm = tempfile.mkdtemp(prefix="image.", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.addCleanup(shutil.rmtree, shm)
        path = write(shm + "/large", b"")
        try:
            os.truncate(path, 20000 * GIB)
            self.sent("raw", path, ("RAW", 20000 * GIB, 20000))
            os.truncate(path, 20000 * GIB + 1)
        except OSError as error:
            self.skipTest(f"a file of 20 TiB cannot be made here: {error}")
        self.refused("raw", path, f"'{path}' of {20000 * GIB + 1} bytes is too large to upload")

    def test_block_device(self):
        """Its size is its own; what cannot be read is told before anything is sent."""
        backing = write(self.tmp + "/backing", bytes(8 * MIB))
        done = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True, check=False,
                              env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}) if os.geteuid() == 0 else None
        if not done or done.returncode != 0:
            self.skipTest("no loop device can be had")
        device = done.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True,
                        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
        self.sent("raw", device, ("RAW", 8 * MIB, 1))
        shutil.copy(self.made + "/qcow2", backing)
        os.truncate(backing, 4 * MIB)  # the second half is gone
        self.refused("raw", device, f"Input/output error: {device}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
