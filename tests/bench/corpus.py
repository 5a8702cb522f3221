"""corpus - the disk, its images, and whatever else the rows read; kept for the next run."""
import contextlib
import hashlib
import os
import shutil
import subprocess

from measure import extents

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40
HERE = os.path.dirname(os.path.abspath(__file__))
VPC = "force_size=on"  # the disk's very size, not rounded up to CHS

# Images of a disk: how the name ends, qemu-img's format, options.
IMAGES = {
    "stream.vmdk": ("vmdk", "subformat=streamOptimized"),
    "mono.vmdk": ("vmdk", "subformat=monolithicSparse"),
    "split.vmdk": ("vmdk", "subformat=twoGbMaxExtentSparse"),
    "dynamic.vhd": ("vpc", f"subformat=dynamic,{VPC}"),
    "fixed.vhd": ("vpc", f"subformat=fixed,{VPC}"),
    "plain.vhdx": ("vhdx", "subformat=dynamic"),
}
# Disks without data; VHD ends at 2040 GiB.
BLANKS = {"blank": 8 * TIB, "blank2040g": 2040 * GIB}

GROWN = 1000  # times as large
SMALL = 8 * GIB
PIECES = 64  # of 1 MiB, evenly spread


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").strip().split("\n")[-1]
        raise SystemExit(f"bench: {os.path.basename(command[0])} failed: {said}")


class Corpus:
    """Disks and their images below `top`, each made when it is first asked for.

    "disk-mono.vmdk" is the monolithicSparse image of "disk.raw"."""

    def __init__(self, top, mib, say):
        self.top, self.mib, self.say = os.path.join(top, f"corpus-{mib}"), mib, say

    def path(self, name):
        return os.path.join(self.top, name)

    def stamp(self):
        """Changes when the making does."""
        said = subprocess.run(["qemu-img", "--version"], stdout=subprocess.PIPE, check=True).stdout
        for name in ("corpus.py", "mixed-disk"):
            with open(os.path.join(HERE, name), "rb") as text:
                said += text.read()
        return hashlib.sha256(said).hexdigest()

    def prepare(self):
        """What an earlier run made is kept if it would be made so today."""
        with contextlib.suppress(FileNotFoundError):
            with open(self.path("stamp"), encoding="ascii") as old:
                if old.read() == self.stamp():
                    return
        shutil.rmtree(self.top, ignore_errors=True)
        os.makedirs(self.top)
        with open(self.path("stamp"), "w", encoding="ascii") as out:
            out.write(self.stamp())

    def image(self, name):
        """Its path; beside it lies NAME.done once it is whole.  It is made under its own name, for
        libvmdk looks for the one that was given when the image was written."""
        path = self.path(name)
        if not os.path.exists(path + ".done"):
            self.say(f"making {path}")
            disk, ending = name.split("-" if "-" in name else ".", 1)
            if ending == "raw":
                self.make_disk(disk, path)
            elif disk in BLANKS:  # not by convert, which would look at every grain
                form, options = IMAGES[ending]
                run("qemu-img", "create", "-q", "-f", form, "-o", options, path, str(BLANKS[disk]))
            else:
                form, options = IMAGES[ending]
                run("qemu-img", "convert", "-f", "raw", "-O", form, "-o", options,
                    self.image(disk + ".raw"), path)
            with open(path + ".done", "wb"):
                pass
        return path

    def make_disk(self, disk, path):
        if disk in ("disk", "small"):
            run(os.path.join(HERE, "mixed-disk"), path,
                str(self.mib if disk == "disk" else min(64, self.mib)))
        elif disk == "quarter":
            self.make_quarter(path)
        elif disk in ("near", "far"):
            self.make_spread(path, SMALL if disk == "near" else SMALL * GROWN)
        else:
            with open(path, "wb") as out:
                out.truncate(BLANKS[disk])

    def make_quarter(self, path):
        """The same size, with every fourth MiB of the data."""
        with open(self.image("disk.raw"), "rb") as source, open(path, "wb") as out:
            out.truncate(self.mib * MIB)
            seen = kept = 0
            for at, end in extents(source.fileno()):
                for piece in range(at, end, MIB):
                    length = min(MIB, end - piece)
                    seen += length
                    if (kept + length) * 4 <= seen + MIB:
                        os.pwrite(out.fileno(), os.pread(source.fileno(), length, piece), piece)
                        kept += length

    def make_spread(self, path, size):
        """A few pieces of the data, evenly spread."""
        with open(self.image("disk.raw"), "rb") as source, open(path, "wb") as out:
            places = [at for start, end in extents(source.fileno())
                      for at in range(start, end - MIB + 1, MIB)]
            places = places[::max(1, len(places) // PIECES)][:PIECES]
            out.truncate(size)
            for i, at in enumerate(places):
                os.pwrite(out.fileno(), os.pread(source.fileno(), MIB, at),
                          size // PIECES * i // MIB * MIB)


class Xfs:
    """A small XFS that can share blocks, in a loop file; `skipped` says why there is none."""

    def __init__(self, corpus, top):
        self.corpus = corpus
        self.file, self.top = os.path.join(top, "xfs.img"), os.path.join(top, "xfs")
        self.mounted, self.skipped = False, None

    def image(self, name):
        """A copy of an image of the corpus."""
        path = os.path.join(self.top, name)
        if not os.path.exists(path):
            run("cp", "--sparse=always", self.corpus.image(name), path)
        return path

    def make(self):
        mkfs = shutil.which("mkfs.xfs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if os.geteuid() != 0:
            self.skipped = "a loop mount needs root"
        elif mkfs is None:
            self.skipped = "mkfs.xfs is not installed"
        if self.skipped or self.mounted:
            return
        os.makedirs(self.top, exist_ok=True)
        if os.path.ismount(self.top):  # an earlier run was killed
            run("umount", self.top)
        with open(self.file, "wb") as out:  # all images are sparse, and so is this
            out.truncate(2 * self.corpus.mib * MIB + 2 * GIB)
        made = subprocess.run([mkfs, "-q", "-f", "-m", "reflink=1", self.file], check=False,
                              stderr=subprocess.PIPE)
        if made.returncode == 0:
            made = subprocess.run(["mount", "-o", "loop", self.file, self.top], check=False,
                                  stderr=subprocess.PIPE)
        if made.returncode != 0:
            self.skipped = "no XFS here: " + made.stderr.decode().strip().split("\n")[-1]
            return
        self.mounted = True

    def remove(self):
        if self.mounted:
            run("umount", self.top)
            self.mounted = False
            os.unlink(self.file)
            os.rmdir(self.top)
