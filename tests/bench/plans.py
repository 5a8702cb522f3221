"""plans - the commands of both sides of a row, what they read, and what must come out."""
import os
import subprocess
import sys

from measure import Failed, compare

HERE = os.path.dirname(os.path.abspath(__file__))
CONNECTIONS = 2  # as many as the tool opens for the parts of a manifest
LINK = 125_000_000  # bytes a second: a gigabit
LOOP_VHD_MAX_MIB = 4096  # libvhdi needs half a minute for 4 GiB of dynamic VHD

# qemu-img's flags: each is tried once per row, the fastest is the one that is compared.
PLAIN = [[], ["-W", "-m", "4"], ["-t", "none"]]
SYNCED = [["-t", "writeback"], ["-t", "writeback", "-W", "-m", "4"], ["-t", "none"], ["then sync"]]
OFFLOAD = [["-C"]]  # raw to raw: the kernel copies, or shares where the file system can
OFFLOAD_SYNCED = [["-C", "-t", "writeback"]]


class Skip(Exception):
    """The row cannot be measured here, and why."""


class Plan:
    """ours: commands.  theirs: [(label, commands)], none for a row of seconds alone.  warm: files
    to have in the page cache.  check: called with "ours" or "theirs" after the first run of each.
    outs: directory of the results, emptied before each run.  sizes: files to compare in size."""

    def __init__(self, ours, theirs, warm, check, outs, sizes=None):
        self.ours, self.theirs, self.warm, self.check = ours, theirs, warm, check
        self.outs, self.sizes = outs, sizes


class Maker:
    """Makes commands for the programs, files and directories of one run of the bench."""

    def __init__(self, toolkit, tools, lab, corpus, xfs):
        self.toolkit, self.tools, self.lab = toolkit, tools, lab
        self.corpus, self.xfs = corpus, xfs
        self.local = os.path.join(lab.top, "out")
        self.servers = {}

    def out(self, name):
        return os.path.join(self.local, name)

    def disk(self):
        """What almost all results must be."""
        return self.corpus.image("disk.raw")

    # --- one side's commands

    def ours(self, form, source, out, durable, *more, to="raw"):
        """One command of the tool."""
        sync = [] if durable else ["--no-sync"]
        return [[self.toolkit, "convert", "-f", form, "-O", to, "--scratch", self.lab.scratch,
                 *sync, *more, source, out]]

    def qemu(self, form, source, out, flags, to="raw", options=()):
        last = []
        if flags == ["then sync"]:
            flags, last = [], [["sync", out]]
        return [["qemu-img", "convert", "-f", form, "-O", to, *flags, *options, source, out], *last]

    def flag_sets(self, form, durable):
        sets = SYNCED if durable else PLAIN
        if form == "raw":
            sets = sets + (OFFLOAD_SYNCED if durable else OFFLOAD)
        return sets

    def tool(self, name):
        if not self.tools.get(name, "").startswith("/"):
            raise Skip(self.tools.get(name) or f"{name} is not installed")
        return self.tools[name]

    # --- rows that end in a raw disk

    def same(self, outs, wanted):
        def check(side):
            compare(os.path.join(outs, side + ".raw"), wanted)
        return check

    def plan(self, outs, ours, theirs, warm, wanted):
        return Plan(ours, theirs, warm, self.same(outs, wanted), outs)

    def split_files(self, name):
        """The image, and its extents where they are files of their own."""
        top, stem = self.corpus.top, name.split(".", 1)[0]
        if not stem.endswith("-split"):
            return [self.corpus.image(name)]
        return sorted(os.path.join(top, n) for n in os.listdir(top)
                      if n.startswith(stem) and n.endswith(".vmdk"))

    def decode(self, name, ours, qemu, durable, place=None, more=()):
        place = place or self.corpus
        outs = os.path.join(self.lab.top if place is self.corpus else place.top, "out")
        image, theirs = place.image(name), os.path.join(outs, "theirs.raw")
        sets = [(" ".join(flags) or "its default", self.qemu(qemu, image, theirs, flags))
                for flags in self.flag_sets(qemu, durable)]
        warm = [image] if place is not self.corpus else self.split_files(name)
        command = self.ours(ours, image, os.path.join(outs, "ours.raw"), durable, *more)
        return self.plan(outs, command, sets, warm, self.disk())

    def decode_on_xfs(self, name, ours, qemu, durable):
        self.xfs.make()
        if self.xfs.skipped:
            raise Skip(self.xfs.skipped)
        return self.decode(name, ours, qemu, durable, place=self.xfs)

    def against_command(self, name, ours, durable, label, command, more=()):
        """Any command that writes theirs.raw from the image; {} words are filled in."""
        image, theirs = self.corpus.image(name), self.out("theirs.raw")
        command = [word.format(image=image, out=theirs) for word in command]
        return self.plan(self.local,
                         self.ours(ours, image, self.out("ours.raw"), durable, *more),
                         [(label, [command])], self.split_files(name), self.disk())

    def loop(self, name, ours, tool, more=()):
        if name == "disk-dynamic.vhd" and self.corpus.mib > LOOP_VHD_MAX_MIB:
            raise Skip(f"libvhdi takes minutes for more than {LOOP_VHD_MAX_MIB} MiB of dynamic VHD")
        return self.against_command(name, ours, False, tool, [self.tool(tool), "{image}", "{out}"],
                                    more)

    def nbd(self, name, ours, qemu, durable, straight):
        """nbdcopy, straight from the file or out of a qemu-nbd that reads the format."""
        copy = [self.tool("nbdcopy"), *(["--flush"] if durable else [])]
        if straight:
            return self.against_command(name, ours, durable, " ".join(["nbdcopy", *copy[1:]]),
                                        [*copy, "{image}", "{out}"])
        server = ["[", self.tool("qemu-nbd"), "-r", "-f", qemu, "{image}", "]"]
        return self.against_command(name, ours, durable, f"nbdcopy [ qemu-nbd -f {qemu} ]",
                                    [*copy, "--", *server, "{out}"])

    def small(self):
        image, theirs = self.corpus.image("small-stream.vmdk"), self.out("theirs.raw")
        return self.plan(self.local,
                         self.ours("vmdk", image, self.out("ours.raw"), False),
                         [("its default", self.qemu("vmdk", image, theirs, []))], [image],
                         self.corpus.image("small.raw"))

    def digest(self):
        image = self.corpus.image("disk-stream.vmdk")
        ours, theirs = (self.out(side + ".raw") for side in ("ours", "theirs"))
        return self.plan(self.local, self.ours("vmdk", image, ours, True, "--digest", "fs-verity"),
                         [("itself without a digest", self.ours("vmdk", image, theirs, True))],
                         [image], self.disk())

    def blank(self, name, ours, wanted):
        image = self.corpus.image(name)
        return self.plan(self.local,
                         self.ours(ours, image, self.out("ours.raw"), True), [],
                         [image], self.corpus.image(wanted))

    # --- rows that write images

    def encode(self, qemu, options, to, durable, *more):
        suffix = {"vmdk": "vmdk", "vpc": "vhd"}[qemu]
        ours, theirs = (self.out(f"{side}.{suffix}") for side in ("ours", "theirs"))
        flags = ["-t", "writeback"] if durable else []

        def check(side):
            if side == "ours":
                said = subprocess.run(["qemu-img", "compare", "-f", qemu, "-F", "raw", ours,
                                       self.disk()], check=False, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
                if said.returncode != 0:
                    raise Failed("wrong result: " + said.stdout.decode().strip())

        return Plan(self.ours("raw", self.disk(), ours, durable, *more, to=to),
                    [(" ".join(flags) or "its default",
                      self.qemu("raw", self.disk(), theirs, flags, qemu, ["-o", options]))],
                    [self.disk()], check, self.local, (ours, theirs))

    def blank_encode(self):
        out = self.out("ours.vmdk")
        return Plan(self.ours("raw", self.corpus.image("blank.raw"), out, True, to="vmdk"), [], [],
                    lambda side: None, self.local)

    # --- rows over the network

    def serve(self, name, form, *options):
        """The URL of the manifest; the server goes on until the bench ends."""
        key = (name, *options)
        if key not in self.servers:
            process = subprocess.Popen([sys.executable, os.path.join(HERE, "serve-parts"),
                                        self.corpus.image(name), form, *options],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            self.servers[key] = process, process.stdout.readline().decode().strip()
        if not self.servers[key][1]:
            raise Failed("serve-parts ended at its start")
        return self.servers[key][1]

    def stop_servers(self):
        for process, _ in self.servers.values():
            process.terminate()
            process.wait()
            process.stdout.close()
        self.servers = {}

    def fetch(self, url, out):
        return [os.path.join(HERE, "fetch-parts"), url, out, str(CONNECTIONS)]

    def network(self, name, ours, qemu, durable, *options):
        """Against the same download into a file, and qemu-img on that."""
        url = self.serve(name, ours.upper(), *options)
        copy, theirs = (os.path.join(self.lab.scratch, "image"),
                        self.out("theirs.raw"))
        sets = [(" ".join(flags) or "its default",
                 [self.fetch(url, copy), *self.qemu(qemu, copy, theirs, flags)])
                for flags in self.flag_sets(qemu, durable)]
        return self.plan(self.local,
                         self.ours(ours, "manifest:" + url, self.out("ours.raw"),
                                   durable), sets, [self.corpus.image(name)], self.disk())

    def throttled(self, durable):
        """Against the link itself: the parts downloaded to nowhere."""
        url = self.serve("disk-stream.vmdk", "VMDK", "--rate", str(LINK))
        image, out = self.corpus.image("disk-stream.vmdk"), self.out("ours.raw")

        def check(side):
            if side == "ours":
                compare(out, self.disk())

        return Plan(self.ours("vmdk", "manifest:" + url, out, durable),
                    [("the link itself", [self.fetch(url, "-")])], [image], check, self.local)

    # --- rows of how cost grows: "theirs" is before, "ours" after

    def grown(self, before, after, form):
        def side(image, name):
            return self.ours(form, self.corpus.image(image), self.out(name + ".raw"),
                             False)

        def check(name):
            image = after if name == "ours" else before
            disk = image.replace("-", ".").split(".", 1)[0]
            compare(self.out(name + ".raw"), self.corpus.image(disk + ".raw"))

        images = [self.corpus.image(before), self.corpus.image(after)]
        return Plan(side(after, "ours"), [("", side(before, "theirs"))], images, check, self.local)

    def cores(self, source, form, to):
        if (os.cpu_count() or 1) < 2 or len(os.sched_getaffinity(0)) < 2:
            raise Skip("there is one core")
        first, second = sorted(os.sched_getaffinity(0))[:2]
        image = self.corpus.image(source)

        def side(name, cores, jobs):
            (command,) = self.ours(form, image, self.out(f"{name}.{to}"), False,
                                   "--jobs", jobs, to=to)
            return [["taskset", "-c", cores, *command]]

        def check(name):
            if to == "raw":
                compare(self.out(name + ".raw"), self.disk())

        return Plan(side("ours", f"{first},{second}", "2"),
                    [("", side("theirs", str(first), "1"))], [image], check, self.local)
