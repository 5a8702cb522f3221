"""hostile_files - rows 1 to 34 of the list of hostile inputs: for each the file, its neighbour, and
what must come of both.

    for row in hostile_files.ROWS: row.number, row.result, row.what; made = row.make(place)

place is a Place, whose canary and listener references lead to.  toolkit/hostile-rows.py sends
each file through the toolkit, service/hostile-rows.py those through the service that an import takes.
Variations of a row are in toolkit/hostile-*.py.  How an image is built is in craft.py and packed.py.
"""
import gzip
import tarfile
import zlib

from craft import *  # noqa: F403
from hostile import patched, sectors
from packed import one_disk, ova, tar, xz

GRAIN = 128 * SECTOR
ROWS = []

# Of eleven grains, most of them holes; PARTIAL ends within the last.
FLAT = noise(GRAIN)
GRAINS = scattered(11 * GRAIN, [(0, GRAIN), (3 * GRAIN, GRAIN), (6 * GRAIN + 700, 9000), (10 * GRAIN, GRAIN)])
PARTIAL = GRAINS[:10 * GRAIN + 5 * SECTOR]
# Of three blocks of 2 MiB, the middle one a hole, the last one short.
BLOCKS = scattered(5 * MIB + 3 * SECTOR, [(100, 5000), (4 * MIB, 700), (5 * MIB + SECTOR, 2 * SECTOR)])
SMALL = scattered(64 * KIB, [(0, 4096), (20000, 5000)])
LINUX = mbr(scattered(4 * MIB, [(MIB, 5000)]), [(0x80, 0x83, 2048, 4096)])
IMAGE = bytes(vmdk_stream(SMALL))  # what OVAs hold


class Place:
    """name: by which an image may find the canary; nbd: the address of the listener."""
    def __init__(self, bench, name):
        self.name, self.nbd = name, "nbd://127.0.0.1:%d/x" % bench.port


class Made:
    """bad: a file that must be refused, or several, None when there is none; good: one that must be
    accepted and give disk (a number: a blank disk of that size).  bad_format: when it is declared as
    something else than the good one.

    says: words and numbers of the refusal; status: its exit status; limit: the largest disk allowed;
    beside: files in the same directory; extents: those in the directory that split disks are given;
    instance: import them as machines, not as volumes."""
    def __init__(self, format, bad, good, disk, *says, bad_format=None, status=(4,), limit=None,
                 beside=(), extents=(), instance=False):
        self.format, self.good, self.disk, self.says = format, good, disk, says
        self.bad = bad if isinstance(bad, (list, type(None))) else [bad]
        self.bad_format, self.status, self.limit = bad_format or format, status, limit
        self.beside, self.extents, self.instance = dict(beside), dict(extents), instance


class Row:
    def __init__(self, number, result, what, make):
        self.number, self.result, self.what, self.make = number, result, what, make


def row(number, result, what):
    """The function gives the Made of that row; result is what the list says of it: "accepted" rows
    have a refused neighbour."""
    def add(make):
        ROWS.append(Row(number, result, what, make))
        return make
    return add


# --- VMDK

def sparse_with(*lines, **how):
    """A sound image whose descriptor has these lines of extents."""
    own = 'RW %d SPARSE "image"' % (len(GRAINS) // SECTOR)
    return vmdk_sparse(GRAINS, descriptor=vmdk_descriptor("monolithicSparse", [own, *lines], **how))


def both(**how):
    """The same defect in the two kinds that hold everything in one file."""
    return [make(GRAINS, **how) for make in (vmdk_sparse, vmdk_stream)]


@row(1, "refused", "VMDK: a descriptor alone, whose FLAT extent is the canary")
def descriptor_alone(place):
    bad = [vmdk_text('RW 128 FLAT "%s" 0' % name) for name in (place.name, place.nbd)]
    return Made("vmdk", bad, vmdk_text('RW 128 FLAT "flat.vmdk" 0'), FLAT, extents={"flat.vmdk": FLAT})


@row(2, "refused", "VMDK: sparse, and the canary as a second extent")
def second_extent(place):
    return Made("vmdk", sparse_with('RW 128 FLAT "%s" 0' % place.name), sparse_with(), GRAINS, "extent")


@row(3, "refused", "VMDK: sparse, with a parent in the same directory")
def parent_beside(_):
    hint = 'parentFileNameHint="base.vmdk"'
    return Made("vmdk", [sparse_with(head=hint), sparse_with(head=hint, parent="fffffffe")], sparse_with(),
                GRAINS, "parent", beside={"base.vmdk": vmdk_sparse(GRAINS)})


@row(4, "refused", "VMDK: 3 TiB, where 10 GiB are wanted")
def beyond_the_volume(_):
    return Made("vmdk", vmdk_stream(b"", capacity=3 * TIB // SECTOR), vmdk_stream(b"", capacity=10 * GIB // SECTOR),
                10 * GIB, 3 * TIB, 10 * GIB, status=(5,), limit=10 * GIB)


@row(5, "refused", "VMDK: grains of 24 sectors")
def grain_size(_):
    return Made("vmdk", [vmdk_sparse(GRAINS, header={"grain": 24}),
                         vmdk_stream(GRAINS, header={"grain": 24}, footer={"grain": 24})],
                vmdk_sparse(GRAINS, grain=16), GRAINS, "grain", sectors(24))


@row(6, "refused", "VMDK: the third grain pointer a sector beyond the end")
def pointer_beyond(_):
    bad = [make(GRAINS, gte={2: make(GRAINS).sectors + 1}) for make in (vmdk_sparse, vmdk_stream)]
    return Made("vmdk", bad, vmdk_sparse(GRAINS), GRAINS, "grain")


@row(7, "refused", "VMDK: the last sector missing")
def shortened(_):
    return Made("vmdk", [image[:-SECTOR] for image in both()], vmdk_stream(GRAINS), GRAINS)


@row(8, "refused", "VMDK: a grain inflates to a byte more than a grain")
def one_byte_more(_):
    packed = [zlib.compress(GRAINS[:GRAIN] + more) for more in (b"\0", b"")]
    return Made("vmdk", *(vmdk_stream(GRAINS, payload={0: p}) for p in packed), GRAINS, "grain", GRAIN)


@row(9, "refused", "VMDK: header of version 3, footer of version 1")
def another_footer(_):
    return Made("vmdk", vmdk_stream(GRAINS, footer={"version": 1}), vmdk_stream(GRAINS), GRAINS, "footer", 3, 1)


@row(10, "accepted", "VMDK: an accented file name, in UTF-8")
def accented(_):
    own = 'RW %d SPARSE "Donn\u00e9es \u00e0 c\u00f4t\u00e9.vmdk"' % (len(GRAINS) // SECTOR)
    good, bad = (vmdk_sparse(GRAINS, descriptor=vmdk_descriptor("monolithicSparse", [line]))
                 for line in (own, own.replace("SPARSE", "FLAT") + " 0"))
    return Made("vmdk", bad, good, GRAINS, "extent")


@row(11, "accepted", "VMDK: the last grain is partial")
def partial_grain(_):
    cut = zlib.compress(PARTIAL[10 * GRAIN:-1])
    return Made("vmdk", vmdk_stream(PARTIAL, payload={10: cut}), vmdk_stream(PARTIAL), PARTIAL, "grain", 5 * SECTOR)


# --- VHD

def flipped(image, at):
    return patched(image, at, bytes([image[at] ^ 1]))


@row(12, "refused", "VHD: a bit of the first footer's checksum")
def first_footer(_):
    good = vhd_dynamic(BLOCKS)
    return Made("vhd", flipped(good, FOOTER_FIELDS["checksum"][0] + 3), good, BLOCKS, "footer")


@row(13, "refused", "VHD: blocks of 1 GiB and 512 bytes")
def block_size(_):
    return Made("vhd", vhd_dynamic(BLOCKS, dynamic={"block": GIB + 512}), vhd_dynamic(BLOCKS, block=512 * KIB),
                BLOCKS, "block", GIB + 512)


@row(14, "refused", "VHD: the second table entry beyond the end")
def entry_beyond(_):
    good = vhd_dynamic(BLOCKS)
    return Made("vhd", vhd_dynamic(BLOCKS, table={1: good.sectors + 8}), good, BLOCKS, "block")


@row(15, "refused", "VHD: differencing, the parent's name in the header only")
def differencing(_):
    parent = {"parent_name": "canary.raw".encode("utf-16-be").ljust(512, b"\0"), "parent": noise(16, 5)}
    return Made("vhd", vhd_dynamic(BLOCKS, kind=4, dynamic=parent), vhd_dynamic(BLOCKS), BLOCKS, "differencing")


@row(16, "refused", "VHD: fixed, and 512 bytes more told than there are")
def more_than_there_is(_):
    size = len(SMALL) + SECTOR
    return Made("vhd", vhd_fixed(SMALL, size=size), vhd_fixed(SMALL), SMALL, size)


@row(17, "accepted", "VHD: fixed, with a footer of 511 bytes")
def short_footer(_):
    image = vhd_fixed(SMALL)
    return Made("vhd", image[:-2], image[:-1], SMALL)


# --- VHDX

@row(18, "accepted", "VHDX: only the second header valid")
def second_header(_):
    return Made("vhdx", vhdx(BLOCKS, first=None, second=None), vhdx(BLOCKS, first=None), BLOCKS, "header")


@row(19, "refused", "VHDX: a region table of no entries")
def no_regions(_):
    return Made("vhdx", [vhdx(BLOCKS, regions=[]), vhdx(BLOCKS, region_count=0)], vhdx(BLOCKS), BLOCKS,
                "region", 0)


@row(20, "refused", "VHDX: logical sectors of 520 bytes")
def logical_sectors(_):
    disk = scattered(4 * MIB, [(0, 5000)])  # whole sectors of 4096
    return Made("vhdx", vhdx(disk, logical=520), vhdx(disk, logical=4096), disk, "logical", 520)


@row(21, "refused", "VHDX: a log is named, and its area is empty")
def empty_log(_):
    return Made("vhdx", vhdx(BLOCKS, second={"log": noise(16, 30)}), vhdx(BLOCKS, first={"log": noise(16, 30)}),
                BLOCKS, "log")


# --- qcow2

def backed(name):
    return qcow2(SMALL, header={"backing": 1024, "backing_size": len(name)}, texts=[(1024, name.encode())])


@row(22, "refused", "qcow2: the canary as its backing file, declared RAW")
def backing_file(place):
    plain = mbr(SMALL, [])
    return Made("raw", [backed(place.name), backed(place.nbd), qcow2(SMALL)], plain, plain, "qcow2")


@row(22, "refused", "qcow2: the same, declared qcow2")
def backing_file_declared(place):
    return Made("qcow2", [backed(place.name), backed(place.nbd)], qcow2(SMALL), SMALL, "backing")


@row(23, "refused", "qcow2: incompatible feature 5")
def unknown_feature(_):
    return Made("qcow2", qcow2(SMALL, header={"incompatible": 1 << 5}), qcow2(SMALL), SMALL,
                {"bit", "feature", "features"}, {5, 32})


# --- raw, and what stands in a disk

def hidden(number, format, *builders):
    disk = b"vhdxfile".ljust(SECTOR, b"\0") + GRAINS[SECTOR:]
    near = b"vhdxfilf".ljust(SECTOR, b"\0") + GRAINS[SECTOR:]

    @row(number, "refused", f"{format.upper()}: its disk begins with a VHDX identifier")
    def make(_):
        return Made(format, [build(disk) for build in builders], builders[0](near), near, "HiddenFormat")


hidden(24, "vmdk", vmdk_stream, vmdk_sparse)
hidden(24, "vhd", vhd_dynamic, vhd_fixed)


@row(25, "refused", "RAW: a partition table, and KDMV in front")
def raw_and_vmdk(_):
    return Made("raw", mbr(LINUX, [(0x80, 0x83, 2048, 4096)], b"KDMV"), LINUX, LINUX, "vmdk", "FormatMismatch")


@row(26, "accepted", "RAW: extended partitions that go round (nobody has to follow them)")
def round_and_round(_):
    disk = bytearray(mbr(LINUX, [(0x80, 0x83, 6144, 1024), (0, 5, 2048, 4096)]))
    boot_record(disk, MIB, [(0, 0x83, 63, 100), (0, 5, 2048, 100)])  # the second is at 2 * MIB
    boot_record(disk, 2 * MIB, [(0, 0x83, 63, 100), (0, 5, 0, 100)])  # the first again
    return Made("raw", None, bytes(disk), bytes(disk))


@row(27, "accepted", "RAW: a GPT of 129 entries")
def gpt_129(_):
    disk = gpt(scattered(4 * MIB, [(2048 * SECTOR, 5000)]), 129)
    return Made("raw", None, disk, disk)


@row(28, "accepted", "RAW: 1 MiB of noise, as a volume")
def noise_volume(_):
    return Made("raw", None, noise(MIB), noise(MIB))


@row(28, "refused", "RAW: 1 MiB of noise, as an instance")
def noise_instance(_):
    disk = mbr(noise(MIB), [(0x80, 0x83, 1, 2047), *[(0, 0, 0, 0)] * 3])
    return Made("raw", noise(MIB), disk, disk, "No valid partitions", instance=True)


# --- archives

def box(href=None, head="", members=None, **file):
    """An OVA of a description and its disk, d.vmdk."""
    given = {**file, **({"href": href} if href is not None else {})}
    text = one_disk("d.vmdk", IMAGE, len(SMALL), file=given, head=head)
    return tar([("box.ovf", text), *(members or [("d.vmdk", IMAGE)])])


@row(29, "refused", "OVA: a member dir/../../evil")
def traversal(_):
    good, bad = (ova(IMAGE, len(SMALL), extra=[(name, b"x")]) for name in ("dir/evil", "dir/../../evil"))
    return Made("ova", bad, good, SMALL, "plain name")


@row(30, "refused", "OVA: the disk is a symlink to a sibling")
def link(_):
    real = ("real.vmdk", IMAGE)
    to_it = ("d.vmdk", b"", {"type": tarfile.SYMTYPE, "linkname": "real.vmdk"})
    return Made("ova", box(members=[real, to_it]), box(members=[real, ("d.vmdk", IMAGE)]), SMALL, "regular file")


@row(31, "refused", "OVA: href %2e%2e/canary")
def escaped(_):
    name = "%2e%2e/canary"
    return Made("ova", box(href=name), box(href=name, members=[(name, IMAGE)]), SMALL, "no member called", name)


@row(32, "refused", "OVA: a wrong digit in a SHA1 manifest")
def wrong_digit(_):
    def wrong(text):
        return text[:-2] + (b"0" if text[-2:-1] != b"0" else b"1") + text[-1:]
    return Made("ova", ova(IMAGE, len(SMALL), manifest="SHA1", change={"box.mf": wrong}),
                ova(IMAGE, len(SMALL), manifest="SHA1"), SMALL, "digest")


@row(33, "refused", "OVA: an xz-compressed disk that expands 2000-fold")
def bomb_in_xz(_):
    fair = scattered(20 * MIB, [(0, MIB)])  # twenty-fold is compression
    packed, size = xz(noise(16 * KIB), 64 * MIB), 64 * MIB + 16 * KIB
    assert size > 2000 * len(packed)
    return Made("raw.ova", ova(packed, size, file={"compression": "xz"}),
                ova(xz(fair), len(fair), file={"compression": "xz"}), fair, "1100", "bomb")


@row(34, "refused", "OVA: a DTD with an entity that is never used")
def document_type(_):
    return Made("ova", box(head='<!DOCTYPE Envelope [<!ENTITY e "never">]>\n'), box(), SMALL, "DOCTYPE")
