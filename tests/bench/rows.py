"""rows - what is measured against what, and the figure each row is to reach.

The figures are those of the project's plan: ratios of wall time to the other side's, in one run.
How the commands look is plans.py.
"""


class Row:
    """name: for BENCH_ROWS.  build: gives the Plan.  figure: at most so much of the other side's
    wall time; size: of its bytes; seconds, memory (MiB), scratch (bytes): at most, in absolute
    numbers; None where there is none.  judged: False when the figure was set for the other
    discipline and stands here for comparison.  floor: a name of floors.TITLES.  runs: None for as
    many as were asked for.  growth: of the second table; "theirs" is before, "ours" after."""

    def __init__(self, name, title, build, against="qemu-img", sync="no", figure=None, size=None,
                 seconds=None, memory=None, scratch=None, judged=True, floor=None, runs=None,
                 growth=False):
        self.name, self.title, self.build = name, title, build
        self.against, self.sync = against, sync
        self.figure, self.size, self.seconds = figure, size, seconds
        self.memory, self.scratch, self.judged = memory, scratch, judged
        self.floor, self.runs, self.growth = floor, runs, growth

    def has_figure(self):
        return any(f is not None for f in (self.figure, self.size, self.seconds, self.memory,
                                           self.scratch))


def local_rows(maker):
    """Image to sparse raw, on the same file system."""
    formats = [  # name, what, file, our format, qemu-img's, figure, more of ours, floor
        ("stream", "stream-optimized VMDK → raw", "disk-stream.vmdk", "vmdk", "vmdk", 0.30, (),
         "inflate"),
        ("mono", "monolithicSparse VMDK → raw", "disk-mono.vmdk", "vmdk", "vmdk", 0.40, (), "copy"),
        ("split", "split VMDK → raw", "disk-split.vmdk", "vmdk", "vmdk", 0.40,
         ("--extents", maker.corpus.top), "copy"),
        ("vhd-dynamic", "dynamic VHD → raw", "disk-dynamic.vhd", "vhd", "vpc", 0.80, (), "copy"),
        ("vhd-fixed", "fixed VHD → raw", "disk-fixed.vhd", "vhd", "vpc", 0.60, (), "copy"),
        ("raw", "raw → sparse raw", "disk.raw", "raw", "raw", 0.60, (), "copy"),
        ("vhdx", "VHDX → raw", "disk-plain.vhdx", "vhdx", "vhdx", 0.60, (), "copy"),
    ]
    for name, title, image, ours, qemu, figure, more, floor in formats:
        for durable in (True, False):
            yield Row(f"{name}-durable" if durable else name, title,
                      lambda i=image, o=ours, q=qemu, d=durable, m=more: maker.decode(i, o, q, d,
                                                                                       more=m),
                      sync="yes" if durable else "no", figure=figure, memory=64,
                      judged=durable == (name == "stream"), floor="write" if durable else floor)
    yield Row("small", "64 MiB stream-optimized VMDK → raw", maker.small)


def xfs_rows(maker):
    for name, title, image, ours, qemu in (
            ("vhd-fixed", "fixed VHD → raw", "disk-fixed.vhd", "vhd", "vpc"),
            ("raw", "raw → sparse raw", "disk.raw", "raw", "raw"),
            ("vhdx", "VHDX → raw", "disk-plain.vhdx", "vhdx", "vhdx"),
            ("mono", "monolithicSparse VMDK → raw", "disk-mono.vmdk", "vmdk", "vmdk")):
        for durable in (True, False):
            yield Row(f"xfs-{name}-durable" if durable else f"xfs-{name}",
                      f"{title}, XFS with reflink",
                      lambda i=image, o=ours, q=qemu, d=durable: maker.decode_on_xfs(i, o, q, d),
                      sync="yes" if durable else "no", figure=0.05, memory=64, judged=not durable)


def network_rows(maker):
    title = "manifest parts over loopback HTTP → volume"
    download = "download + qemu-img"
    for durable, figure in ((False, 0.20), (True, 0.25)):
        yield Row("net-durable" if durable else "net", f"{title} (stream-optimized)",
                  lambda d=durable: maker.network("disk-stream.vmdk", "vmdk", "vmdk", d),
                  against=download, sync="yes" if durable else "no", figure=figure, memory=128,
                  scratch=0, floor="write" if durable else "inflate")
    yield Row("net-no-etag", f"{title} (stream-optimized), parts without an MD5",
              lambda: maker.network("disk-stream.vmdk", "vmdk", "vmdk", False, "--no-etag"),
              against=download, floor="inflate")
    yield Row("net-vhd", f"{title} (dynamic VHD)",
              lambda: maker.network("disk-dynamic.vhd", "vhd", "vpc", False), against=download)
    for durable in (False, True):
        yield Row("net-throttled-durable" if durable else "net-throttled",
                  "manifest parts over a link of 125 MB/s → volume (stream-optimized)",
                  lambda d=durable: maker.throttled(d), against="the link itself",
                  sync="yes" if durable else "no", figure=1.10, memory=128, scratch=0)


def encode_rows(maker):
    stream = "subformat=streamOptimized"
    for name, level, durable, figure, size in (("vmdk-fast", "fast", False, 0.06, 1.05),
                                               ("vmdk-fast-durable", "fast", True, 0.06, 1.05),
                                               ("vmdk-best", "best", False, 0.22, 1.00)):
        yield Row(f"write-{name}",
                  f"raw → stream-optimized VMDK, {'default level' if level == 'fast' else level}",
                  lambda d=durable, l=level: maker.encode("vmdk", stream, "vmdk", d,
                                                          *(() if l == "fast" else ("--level", l))),
                  sync="yes" if durable else "no", figure=figure, size=size, memory=128,
                  judged=not durable)
    for kind in ("dynamic", "fixed"):
        for durable in (True, False):
            yield Row(f"write-vhd-{kind}-durable" if durable else f"write-vhd-{kind}",
                      f"raw → {kind} VHD",
                      lambda k=kind, d=durable: maker.encode(
                          "vpc", f"subformat={k},force_size=on", "vhd", d, "--subformat", k),
                      sync="yes" if durable else "no")


def other_rows(maker):
    yield Row("digest", "fs-verity digest, stream-optimized VMDK → raw", maker.digest,
              against="itself without", sync="yes", figure=1.25)
    for name, title, image, ours, wanted in (
            ("mono", "8 TiB monolithicSparse VMDK", "blank-mono.vmdk", "vmdk", "blank.raw"),
            ("stream", "8 TiB stream-optimized VMDK", "blank-stream.vmdk", "vmdk", "blank.raw"),
            ("vhdx", "8 TiB VHDX", "blank-plain.vhdx", "vhdx", "blank.raw"),
            ("vhd", "2040 GiB dynamic VHD", "blank2040g-dynamic.vhd", "vhd", "blank2040g.raw"),
            ("raw", "8 TiB raw", "blank.raw", "raw", "blank.raw")):
        yield Row(f"blank-{name}", f"blank {title} → raw",
                  lambda i=image, o=ours, w=wanted: maker.blank(i, o, w), against="–", sync="yes",
                  seconds=2.0, memory=64)
    yield Row("blank-write", "blank 8 TiB raw → stream-optimized VMDK", maker.blank_encode,
              against="–", sync="yes")


def reader_rows(maker):
    """The other programs that read these formats, each as it comes."""
    for name, title, image, ours, tool, more in (
            ("libvmdk-stream", "stream-optimized VMDK", "disk-stream.vmdk", "vmdk", "loop-vmdk",
             ()),
            ("libvmdk-mono", "monolithicSparse VMDK", "disk-mono.vmdk", "vmdk", "loop-vmdk", ()),
            ("libvmdk-split", "split VMDK", "disk-split.vmdk", "vmdk", "loop-vmdk",
             ("--extents", maker.corpus.top)),
            ("libvhdi-dynamic", "dynamic VHD", "disk-dynamic.vhd", "vhd", "loop-vhd", ()),
            ("libvhdi-fixed", "fixed VHD", "disk-fixed.vhd", "vhd", "loop-vhd", ()),
            ("libvhdi-vhdx", "VHDX", "disk-plain.vhdx", "vhdx", "loop-vhd", ())):
        yield Row(f"loop-{name}", f"{title} → raw",
                  lambda i=image, o=ours, t=tool, m=more: maker.loop(i, o, t, m),
                  against=f"{name.split('-', maxsplit=1)[0]} loop",
                  runs=1 if name == "libvhdi-dynamic" else None)
    for name, title, image, ours, qemu, durable in (
            ("raw-durable", "raw → sparse raw", "disk.raw", "raw", "raw", True),
            ("raw", "raw → sparse raw", "disk.raw", "raw", "raw", False),
            ("stream", "stream-optimized VMDK → raw", "disk-stream.vmdk", "vmdk", "vmdk", False),
            ("vhd-dynamic", "dynamic VHD → raw", "disk-dynamic.vhd", "vhd", "vpc", False),
            ("vhdx", "VHDX → raw", "disk-plain.vhdx", "vhdx", "vhdx", False)):
        straight = qemu == "raw"
        yield Row(f"nbd-{name}", title,
                  lambda i=image, o=ours, q=qemu, d=durable, s=straight: maker.nbd(i, o, q, d, s),
                  against="nbdcopy" if straight else "nbdcopy of qemu-nbd",
                  sync="yes" if durable else "no")


def growth_rows(maker):
    """Ours alone."""
    kinds = (("stream", "stream.vmdk", "vmdk", "stream-optimized VMDK"),
             ("mono", "mono.vmdk", "vmdk", "monolithicSparse VMDK"),
             ("vhdx", "plain.vhdx", "vhdx", "VHDX"))
    for name, image, form, title in kinds:
        yield Row(f"grow-size-{name}",
                  f"{title}: 64 MiB of data, virtual size 8 GiB → 8000 GiB",
                  lambda i=image, f=form: maker.grown(f"near-{i}", f"far-{i}", f), growth=True)
    yield Row("grow-size-raw", "raw: 64 MiB of data, size 8 GiB → 8000 GiB",
              lambda: maker.grown("near.raw", "far.raw", "raw"), growth=True)
    for name, image, form, title in kinds:
        yield Row(f"grow-data-{name}", f"{title}: same size, data × 4",
                  lambda i=image, f=form: maker.grown(f"quarter-{i}", f"disk-{i}", f), growth=True)
    yield Row("grow-cores-read", "stream-optimized VMDK → raw: 1 → 2 cores",
              lambda: maker.cores("disk-stream.vmdk", "vmdk", "raw"), growth=True)
    yield Row("grow-cores-write", "raw → stream-optimized VMDK: 1 → 2 cores",
              lambda: maker.cores("disk.raw", "raw", "vmdk"), growth=True)


def all_rows(maker):
    for part in (local_rows, xfs_rows, network_rows, encode_rows, other_rows, reader_rows,
                 growth_rows):
        yield from part(maker)
