#!/usr/bin/python3
"""The stage boot-test: how far a disk comes is told, whatever the guest does; the image is not
written, nothing is left behind, and nothing goes out.

Most guests are single boot sectors, which print what a Linux would and start at once."""
import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import bootsector as bs  # noqa: E402
import service  # noqa: E402
from procfs import opened  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
QEMU = "qemu-system-x86_64"
os.environ["PATH"] += ":/usr/sbin:/sbin"
for program in QEMU, "qemu-img":
    if not shutil.which(program):
        print("skipped: %s is not installed" % program)
        sys.exit(77)

MIB = 1 << 20
LINUX = "GRUB loading.\r\nLinux version 6.1.0-1-amd64\r\n"
# Where another end than that of the time is expected.
LONG = 300
# A guest that hangs is watched for so long, and longer where this machine was too slow for it.
SECONDS = 1, 10, 60


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def children(pid, name):
    """Processes of that name whose parent is pid."""
    found = []
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % other) as file:
                head, _, tail = file.read().rpartition(")")
        except OSError:
            continue
        if head.partition("(")[2] == name[:15] and int(tail.split()[1]) == pid:
            found.append(int(other))
    return found


def running(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("waited %d s in vain for %s" % (seconds, what))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="boot-test.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.disk = os.path.join(self.tmp, "disk.raw")
        self.out = os.path.join(self.tmp, "out")
        self.scratch = os.path.join(self.tmp, "scratch")
        for place in self.out, self.scratch:
            os.mkdir(place)

    def job(self, required=False, image=None, form="raw", **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        stage = {"name": "boot-test", "accel": "emulation", "timeout": LONG, **arguments}
        if required:
            stage["optional"] = False
        return json.dumps({"source": image or self.disk, "format": form, "scratch": self.scratch,
                           "store": os.path.join(self.out, "volume"), "stages": [stage]})

    def start(self, before=(), **arguments):
        child = subprocess.Popen([*before, TOOLKIT, "run"], stdin=subprocess.PIPE, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.kill)
        child.stdin.write(self.job(**arguments))
        child.stdin.close()
        child.stdin = None
        return child

    def run_test(self, **arguments):
        """The run's exit status, its one finding (of an optional test) and what it said."""
        image = arguments.get("image") or self.disk
        before = digest(image)
        child = self.start(**arguments)
        out, said = child.communicate()
        self.assertEqual(digest(image), before, "the image was written to")
        self.assertEqual(os.listdir(self.scratch), [], "something was left in scratch")
        if child.returncode:
            self.assertEqual(os.listdir(self.out), [], "something was left behind")
            return child.returncode, None, said
        os.unlink(os.path.join(self.out, "volume"))
        finding, = json.loads(out)["findings"]
        return 0, finding, said

    def starts(self, *words, **arguments):
        status, finding, said = self.run_test(**arguments)
        self.assertEqual(status, 0, said)
        self.assertEqual(finding["severity"], "ok", finding)
        for word in words:
            self.assertIn(word, finding["evidence"])

    def stops(self, *words, **arguments):
        """It does not come as far as wanted; the evidence has the words.  The finding."""
        status, finding, said = self.run_test(**arguments)
        self.assertEqual(status, 0, said)
        self.assertEqual(finding["severity"], "warning", finding)
        for word in words:
            self.assertIn(word, finding["evidence"])
        self.assertTrue(finding["cure"])
        return finding

    def hangs(self, *words, **arguments):
        """The time is over, and it has come as far as the words say, but not to `no` (None: there
        are other words for that).  The finding."""
        no = arguments.pop("no", "login prompt")
        words += ("no %s within" % no,) if no else ()
        for seconds in SECONDS:
            finding = self.stops(timeout=seconds, **arguments)
            if all(word in finding["evidence"] for word in words):
                return finding
        raise AssertionError("%s is not in: %s" % (words, finding["evidence"]))

    def guest(self, *pieces, text="", size=MIB):
        bs.write(self.disk, "".join(pieces), text, size)


class Milestones(Case):
    def test_each_in_turn(self):
        text = LINUX + "EXT4-fs (vda1): mounted filesystem with\r\nWelcome to Debian\r\n"
        self.guest(bs.PRINT, bs.HANG, text=text + "\r\nguest login: ")
        self.starts("(BIOS, virtio, emulation)", "firmware ", "boot loader ", "kernel ",
                    "root file system ", "init ", "login prompt ")
        self.guest(bs.PRINT, bs.HANG, text=text)
        for until in "boot-loader", "kernel", "root", "init":
            self.starts(until=until)
        self.hangs("init ")

    def test_init_of_an_initramfs_is_not_the_root(self):
        self.guest(bs.PRINT, bs.HANG, text=LINUX + "Run /init as init process\r\n")
        self.starts("init ", until="init")
        self.hangs("init ", no="root file system", until="root")
        self.guest(bs.PRINT, bs.HANG, text=LINUX + "guest login: ")
        self.starts("login prompt ", until="root")

    def test_marker(self):
        self.guest(bs.PRINT, bs.HANG, text=LINUX + "all of it IS UP\r\n")
        self.starts("kernel ", "marker ", marker="it IS UP")
        self.hangs("kernel ", no="marker", marker="it is up")

    def test_marker_anywhere_in_a_long_line(self):
        """Most of it is before the place where a line of more than 1024 bytes is cut."""
        self.guest(bs.PRINT, """
            movw $755, %cx
        3:  movb $'x', %al
            movw $0x3f8, %dx
            outb %al, %dx
            loop 3b
        """, bs.PRINT, bs.HANG, text="M" + 127 * "m")
        self.starts(marker="xM" + 126 * "m")

    def test_buses(self):
        self.guest(bs.PRINT, bs.HANG, text="HERE")
        for bus in "virtio", "ide", "nvme":
            self.starts("(BIOS, %s," % bus, disk_bus=bus, marker="HERE")

    def test_welcome_of_a_boot_loader_is_not_init(self):
        for text in "Welcome to GRUB!\r\n", "Welcome to \x1b[H\x1b[J\x1b[1;1HGRUB!\r\n":
            self.guest(bs.PRINT, bs.HANG, text=text)
            self.hangs("boot loader ", no="init", until="init")

    def test_escapes_are_not_part_of_words(self):
        for text in "\x1b[1;32mLi\x1b[0mnux version\x1b[m 6\r\n", "Linux ver\x1b[1;10Hsion 6\r\n":
            self.guest(bs.PRINT, bs.HANG, text=text)
            self.starts("kernel ", until="kernel")

    def test_acceleration_is_chosen(self):
        self.guest(bs.PRINT, bs.HANG, text="HERE")
        self.starts(marker="HERE", accel="auto")


class Troubles(Case):
    def test_no_boot_sector(self):
        with open(self.disk, "wb") as disk:
            disk.truncate(MIB)
        finding = self.stops("the BIOS found no bootable device", "firmware ")
        self.assertEqual(finding["aws"], "No bootable partition found.")
        self.assertNotIn("boot loader ", finding["evidence"])
        status, _, said = self.run_test(required=True)
        self.assertEqual(status, 4, said)
        self.assertIn("error: No bootable partition found. Started by BIOS", said)
        self.stops("the BIOS found no bootable device", until="boot-loader")

    def test_words_of_trouble(self):
        for text, words in (
                ("GRUB loading.\r\nerror: no such partition.\r\ngrub rescue> ", "rescue shell"),
                ("Missing operating system", "no operating system"),
                (LINUX + "VFS: Cannot open root device \"vda1\"\r\nKernel panic - not syncing: "
                 "VFS: Unable to mount root fs on unknown-block(0,0)", "root"),
                (LINUX + "Kernel panic - not syncing: Attempted to kill init!", "panicked"),
                (LINUX + "Gave up waiting for root file system device.\r\n", "in vain"),
                (LINUX + "\r\n(initramfs) ", "emergency shell"),
                (LINUX + "Generating \"/run/initramfs/rdsosreport.txt\"\r\nEntering emergency mode."
                 "\r\ndracut:/# ", "emergency")):
            with self.subTest(text):
                self.guest(bs.PRINT, bs.HANG, text=text)
                self.stops(words)

    def test_words_of_a_boot_loader_mean_nothing_later(self):
        self.guest(bs.PRINT, bs.HANG, text=LINUX + "grub> Missing operating system\r\nx login: ")
        self.starts("login prompt ")

    def test_an_error_that_grub_gets_over(self):
        self.guest(bs.PRINT, bs.HANG, text="GRUB\r\nerror: no such device: 1-2.\r\n" + LINUX)
        self.starts("kernel ", until="kernel")
        self.guest(bs.PRINT, bs.HANG, text="GRUB\r\nerror: no such device: 1-2.\r\n")
        self.hangs("GRUB finds a device not", "error: no such device: 1-2.", no=None)

    def test_hang(self):
        self.guest(bs.HANG)
        finding = self.hangs("firmware ", "its boot sector printed nothing", no=None)
        self.assertNotIn("boot loader ", finding["evidence"])

    def test_resets_for_ever(self):
        self.guest(bs.PRINT, bs.RESET, text="again ")
        self.stops("it resets again and again (5 starts)", "again")

    def test_switched_off(self):
        self.guest(bs.PRINT, bs.POWER_OFF, text="bye")
        self.stops("it switched itself off", "bye")
        self.starts("marker ", marker="bye")

    def test_flood(self):
        self.guest(bs.FLOOD, text="\x01\x02\xff\x7f<&>flood \x1b]0;title\x07")
        finding = self.hangs("flood")
        self.assertLess(len(finding["evidence"]), 384)
        self.assertTrue(finding["evidence"].isprintable(), finding["evidence"])
        self.guest(bs.FLOOD, text="flood without line ends ")
        self.hangs("flood")


class Confined(Case):
    def test_writes_go_elsewhere(self):
        self.guest(bs.WRITE, bs.HANG)
        self.starts(marker="W+")

    def test_writes_are_bounded(self):
        self.guest(bs.FILL, size=4 * MIB)
        self.stops("it wrote more than the 1048576 bytes it may", overlay="1M")
        self.guest(bs.WRITE, bs.HANG, size=4 * MIB)
        self.starts(marker="W+", overlay="1M")

    def test_no_network(self):
        self.guest(bs.FIND_NETWORK, bs.HANG)
        self.starts(marker="N-")

    def machine_of(self, child):
        pid, = wait_for("the machine", lambda: children(child.pid, QEMU))
        # its command line is the shell's until exec, and its console is opened last
        wait_for("the disk", lambda: self.opened(pid))
        return pid

    def opened(self, pid):
        """How the machine has opened the image: flags of each of its descriptors."""
        flags = []
        for number in opened(pid):
            try:
                if not os.path.samefile("/proc/%d/fd/%s" % (pid, number), self.disk):
                    continue
                with open("/proc/%d/fdinfo/%s" % (pid, number)) as info:
                    flags += [int(line.split()[1], 8) for line in info if line[:6] == "flags:"]
            except OSError:
                continue
        return flags if len(flags) >= 2 else []

    def test_what_the_machine_holds(self):
        self.guest(bs.PRINT, bs.HANG, text="HERE")
        child = self.start(timeout=600)
        pid = self.machine_of(child)
        for flags in self.opened(pid):
            self.assertEqual(flags & os.O_ACCMODE, os.O_RDONLY)
        with open("/proc/%d/cmdline" % pid) as file:
            words = file.read().split("\0")
        self.assertEqual(words[words.index("-nic") + 1], "none")
        for word in words:
            self.assertNotIn("netdev", word)
            self.assertNotIn(self.tmp, word)
        with open("/proc/%d/environ" % pid) as file:
            self.assertEqual(file.read().count("\0"), 3)
        self.assertEqual([name for name in opened(pid).values() if name.startswith("socket:")], [])
        child.kill()
        child.communicate()
        wait_for("the machine's end", lambda: not running(pid))
        self.assertEqual(os.listdir(self.scratch), [])

    def test_cancel(self):
        self.guest(bs.HANG)
        before = digest(self.disk)
        child = self.start(timeout=600)
        pid = self.machine_of(child)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 130, said)
        self.assertFalse(running(pid), "the machine runs on")
        self.assertEqual(os.listdir(self.scratch) + os.listdir(self.out), [])
        self.assertEqual(digest(self.disk), before)


class Images(Case):
    """The disk is what counts, whatever it comes in."""

    def test_formats(self):
        self.guest(bs.WRITE, bs.PRINT, bs.HANG, text="HERE")
        for form, name in ("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc"):
            image = os.path.join(self.tmp, "disk." + form)
            options = ["-o", "subformat=streamOptimized"] if form == "vmdk" else []
            subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", name, *options,
                            self.disk, image], check=True)
            self.starts(image=image, form=form, marker="W+HERE")

    def test_what_was_written(self):
        """An image that is fetched is looked at once it is there."""
        self.guest(bs.PRINT, bs.HANG, text="HERE")
        handler = functools.partial(Quiet, directory=self.tmp)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = "http://127.0.0.1:%d/disk.raw" % server.server_port
            child = subprocess.run([TOOLKIT, "run"], input=self.job(image=url, marker="HERE"),
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   check=False)
            server.shutdown()
        self.assertEqual(child.returncode, 0, child.stderr)
        self.assertIn("marker ", json.loads(child.stdout)["findings"][0]["evidence"])

    def test_odd_size(self):
        self.guest(bs.PRINT, bs.HANG, text="HERE", size=MIB + 100)
        self.starts(marker="HERE")


class Command(Case):
    """`check --boot`."""

    def check(self, *options):
        return subprocess.run([TOOLKIT, "check", "--scratch", self.scratch, *options, self.disk],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)

    def test_asked_for_only(self):
        self.guest(bs.PRINT, bs.HANG, text="HERE")
        done = self.check("--output", "json")
        rules = [rule["name"] for rule in json.loads(done.stdout)["rules"]]
        self.assertNotIn("boot-test", rules)
        done = self.check("--only", "check-ntfs", "--boot", "--marker", "HERE", "--firmware", "bios")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\nok +boot-test: It starts \(BIOS, .*marker ")

    def test_required(self):
        with open(self.disk, "wb") as disk:
            disk.truncate(MIB)
        for options, status in ([], 0), (["--require", "boot-test"], 4):
            done = self.check("--only", "check-ntfs", "--boot", *options)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn("the BIOS found no bootable device", done.stdout)

    def test_refused(self):
        self.guest(bs.HANG)
        for options, words in (
                (["--timeout", "5"], "--timeout is for --boot"),
                (["--boot", "--timeout", "0"], "timeout=0 is not between 1 and 86400"),
                (["--boot", "--until", "marker"], "until=marker needs marker=TEXT"),
                (["--boot", "--timeout", "5", "--timeout", "6"], "timeout is given twice")):
            done = self.check(*options)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stdout, "")


class Arguments(Case):
    def test_refused(self):
        self.guest(bs.HANG)
        for words, arguments in (
                ("timeout=0 is not between 1 and 86400", {"timeout": 0}),
                ("until=marker needs marker=TEXT", {"until": "marker"}),
                ("the marker has 129 bytes, more than 128", {"marker": 129 * "m"}),
                ("control character", {"marker": "two\nlines"}),
                ("memory=1048576 is not between", {"memory": "1M"}),
                ("overlay=4096 is not between", {"overlay": 4096}),
                ("memory=1 is not between", {"memory": 1}),
                ("firmware=efi is not one of auto, bios, uefi", {"firmware": "efi"})):
            with self.subTest(words):
                status, _, said = self.run_test(required=True, **arguments)
                self.assertEqual(status, 2, said)
                self.assertIn(words, said)


class Missing(Case):
    def without(self, thing, **arguments):
        """Run where `thing` is covered by what is none."""
        own = ["unshare", "-m" if os.getuid() == 0 else "-rm"]
        if subprocess.run([*own, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("private mounts are not allowed here")
        script = "for t in %s; do [ ! -e $t ] || mount --bind /dev/null $t || exit 99; done; " % thing
        return self.run_test(before=[*own, "sh", "-c", script + 'exec "$@"', "sh"], **arguments)

    def test_programs(self):
        self.guest(bs.PRINT, bs.HANG, text="HERE")
        for program in QEMU, "qemu-img":
            place = "/usr/bin/%s /usr/local/bin/%s" % (program, program)
            status, finding, said = self.without(place, marker="HERE")
            self.assertEqual((status, finding["severity"]), (0, "unknown"), said)
            self.assertIn("%s is missing" % program, finding["evidence"])
            status, _, said = self.without(place, marker="HERE", required=True)
            self.assertEqual(status, 7, said)
            self.assertIn("%s is missing" % program, said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
