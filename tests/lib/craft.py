"""craft - small disk images, byte by byte from their specifications, sound or with one defect.

Each builder takes the disk's bytes and gives a Crafted: the image's bytes, with the offsets of its
structures in .at.  The keyword arguments change one thing; without them the image is sound.
Sources: VMware Virtual Disk Format 5.0; Virtual Hard Disk Image Format (2006); [MS-VHDX] 1.0;
QEMU's docs/interop/qcow2.txt; UEFI 2.10 chapter 5.  Nothing here knows how the toolkit reads them.
"""
import hashlib
import struct
import uuid
import zlib

SECTOR = 512
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
AT_END = (1 << 64) - 1


class Crafted(bytes):
    """An image, and where its structures are."""
    at = {}

    @property
    def sectors(self):
        return len(self) // SECTOR


def crafted(data, /, **at):
    image = Crafted(data)
    image.at = at
    return image


def noise(length, seed=0):
    """Bytes that no compressor shrinks, the same every time."""
    return hashlib.shake_128(b"craft %d" % seed).digest(length)


def scattered(size, pieces, seed=0):
    """A disk of zeros but for pieces: (offset, length)."""
    disk = bytearray(size)
    for i, (at, length) in enumerate(pieces):
        disk[at:at + length] = noise(length, seed + i)
    return bytes(disk)


def holds(piece):
    """There is something but zeros in it."""
    return piece.count(0) != len(piece)


def bomb(length):
    """A zlib stream of a few KiB that becomes length zeros."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(length // MIB)) + packer.flush()


def padded(data, to=SECTOR):
    return data + bytes(-len(data) % to)


def up(number, to):
    return -(-number // to) * to


# --- VMDK

VMDK_FIELDS = {"magic": (0, "4s"), "version": (4, "<I"), "flags": (8, "<I"), "capacity": (12, "<Q"),
               "grain": (20, "<Q"), "descriptor": (28, "<Q"), "descriptor_size": (36, "<Q"),
               "per_table": (44, "<I"), "rgd": (48, "<Q"), "gd": (56, "<Q"), "overhead": (64, "<Q"),
               "unclean": (72, "B"), "newlines": (73, "4s"), "compression": (77, "<H")}
PER_TABLE = 512
MARKER_EOS, MARKER_GT, MARKER_GD, MARKER_FOOTER = 0, 1, 2, 3


def fields(table, size, values):
    block = bytearray(size)
    for name, value in values.items():
        at, form = table[name]
        struct.pack_into(form, block, at, value)
    return block


def vmdk_header(**values):
    return bytes(fields(VMDK_FIELDS, SECTOR, {"magic": b"KDMV", "newlines": b"\n \r\n", **values}))


def vmdk_descriptor(kind, extents, cid="fffffffe", parent="ffffffff", version="1", head="", tail="",
                    encoding="UTF-8"):
    """The text of a descriptor; extents are lines."""
    return ("# Disk DescriptorFile\nversion=%s\nencoding=\"%s\"\nCID=%s\nparentCID=%s\n"
            "createType=\"%s\"\n%s\n# Extent description\n%s\n\n# The Disk Data Base\n#DDB\n\n"
            "ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"20\"\n"
            "ddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n"
            "ddb.adapterType = \"ide\"\n%s"
            % (version, encoding, cid, parent, kind, head, "\n".join(extents), tail))


def vmdk_text(*lines, kind="monolithicFlat", **how):
    """A descriptor as a file of its own."""
    return vmdk_descriptor(kind, list(lines), **how).encode()


def encoded(text):
    return text if isinstance(text, bytes) else text.encode()


def vmdk_sparse(disk, grain=128, descriptor=None, kind="monolithicSparse", header=(), gte=(),
                rgte=None, gde=(), rgde=(), zeroed=(), pieces=(), extra_sectors=0):
    """A hosted sparse extent: header, descriptor, both directories with their tables, grains.

    zeroed: grains written as entry 1; pieces: for bytes over the end of grains; descriptor: text,
    or b"" for an extent of a split disk, which has none."""
    grain_bytes = grain * SECTOR
    capacity = len(disk) // SECTOR
    grains = -(-capacity // grain)
    tables = -(-grains // PER_TABLE)
    text = encoded(vmdk_descriptor(kind, ['RW %d SPARSE "image"' % capacity])
                   if descriptor is None else descriptor)
    text_sectors = up(len(text), 20 * SECTOR) // SECTOR
    rgd = 1 + text_sectors
    gd_sectors = up(tables * 4, SECTOR) // SECTOR
    gd = rgd + gd_sectors + tables * 4
    overhead = up(gd + gd_sectors + tables * 4, grain)
    entries, data, where = [0] * (tables * PER_TABLE), bytearray(), {}
    for i in range(grains):
        piece = disk[i * grain_bytes:(i + 1) * grain_bytes]
        if i in zeroed:
            entries[i] = 1
        elif holds(piece):
            entries[i] = overhead + len(data) // SECTOR
            where[i] = entries[i] * SECTOR
            data += piece.ljust(grain_bytes, b"\0")
    def directory(start, changes):
        numbers = [start + gd_sectors + 4 * t for t in range(tables)]
        for i, value in dict(changes).items():
            numbers[i] = value
        return padded(struct.pack("<%dI" % tables, *numbers))
    def table(changes):
        numbers = list(entries)
        for i, value in dict(changes).items():
            numbers[i] = value
        return struct.pack("<%dI" % len(numbers), *numbers)
    head = vmdk_header(**{"version": 1, "flags": 7 if zeroed else 3, "capacity": capacity,
                          "grain": grain, "descriptor": 1 if text else 0,
                          "descriptor_size": text_sectors, "per_table": PER_TABLE, "rgd": rgd,
                          "gd": gd, "overhead": overhead, **dict(header)})
    image = head + text.ljust(text_sectors * SECTOR, b"\0") + directory(rgd, rgde) \
        + table(gte if rgte is None else rgte) + directory(gd, gde) + table(gte)
    image = image.ljust(overhead * SECTOR, b"\0") + data + bytes(extra_sectors * SECTOR)
    for at, piece in pieces:
        image = image[:at] + piece + image[at + len(piece):]
    return crafted(image, descriptor=SECTOR, rgd=rgd * SECTOR, rgt=(rgd + gd_sectors) * SECTOR,
                   gd=gd * SECTOR, gt=(gd + gd_sectors) * SECTOR, grains=where,
                   data=overhead * SECTOR, text=len(text), tables=tables)


def vmdk_marker(sectors, kind):
    return struct.pack("<QII", sectors, 0, kind).ljust(SECTOR, b"\0")


def vmdk_grain(lba, payload, size=None):
    return padded(struct.pack("<QI", lba, len(payload) if size is None else size) + payload)


def vmdk_stream(disk, grain=128, descriptor=None, version=3, header=(), footer=(), payload=(),
                lba=(), size=(), gte=(), gde=(), order=None, marker=(), repeat=(), drop=(),
                capacity=None, insert=(), directory_in_front=False, tail=b""):
    """A stream-optimized extent as VMware writes it: grains, table, directory, footer, end.

    Keyed by the grain's number: payload (its compressed bytes), lba, size; repeat: grains written a
    second time; marker: kind -> (sectors, kind written); drop: "footer", "eos", "table";
    insert: (before what, bytes), where what is a grain's number, "table" or "footer"."""
    payload, lba, size, marker, insert = (dict(x) for x in (payload, lba, size, marker, insert))
    capacity = len(disk) // SECTOR if capacity is None else capacity
    grain_bytes = grain * SECTOR
    grains = -(-capacity // grain)
    tables = -(-grains // PER_TABLE)
    text = encoded(vmdk_descriptor("streamOptimized", ['RW %d SPARSE "image"' % capacity])
                   if descriptor is None else descriptor)
    text_sectors = up(len(text), 20 * SECTOR) // SECTOR
    entries, where = {}, {} # a dictionary: capacities may be absurd
    present = [i for i in range(-(-len(disk) // grain_bytes))
               if holds(disk[i * grain_bytes:(i + 1) * grain_bytes])]
    values = {"version": version, "flags": 0x30001, "capacity": capacity, "grain": grain,
              "descriptor": 1, "descriptor_size": text_sectors, "per_table": PER_TABLE, "rgd": 0,
              "gd": AT_END, "overhead": up(1 + text_sectors, grain), "compression": 1}
    body = bytearray(values["overhead"] * SECTOR)
    body[SECTOR:SECTOR + len(text)] = text
    for i in [*(order or present), *repeat]:
        body += insert.get(i, b"")
        packed = payload.get(i)
        if packed is None:
            packed = zlib.compress(disk[i * grain_bytes:(i + 1) * grain_bytes])
        entries[i] = len(body) // SECTOR
        where[i] = len(body)
        body += vmdk_grain(lba.get(i, i * grain), packed, size.get(i))
    for i, value in dict(gte).items():
        entries[i] = value
    body += insert.get("table", b"")
    tables_at, numbers = len(body), bytearray(up(tables * 4, SECTOR))
    for t in sorted({i // PER_TABLE for i in entries} if "table" not in drop else ()):
        body += vmdk_marker(*marker.get(MARKER_GT, (4, MARKER_GT)))
        struct.pack_into("<I", numbers, 4 * t, len(body) // SECTOR)
        body += struct.pack("<%dI" % PER_TABLE,
                            *(entries.get(t * PER_TABLE + i, 0) for i in range(PER_TABLE)))
    for i, value in dict(gde).items():
        struct.pack_into("<I", numbers, 4 * i, value)
    body += vmdk_marker(*marker.get(MARKER_GD, (len(numbers) // SECTOR, MARKER_GD)))
    gd = len(body)
    body += numbers
    body += insert.get("footer", b"")
    footer_marker = len(body)
    if directory_in_front: # the header tells where it is, and there is no footer
        values["gd"] = gd // SECTOR
    elif "footer" not in drop:
        body += vmdk_marker(*marker.get(MARKER_FOOTER, (1, MARKER_FOOTER)))
        body += vmdk_header(**{**values, "gd": gd // SECTOR, **dict(footer)})
    eos = len(body)
    if "eos" not in drop:
        body += vmdk_marker(*marker.get(MARKER_EOS, (0, MARKER_EOS)))
    body[:SECTOR] = vmdk_header(**{**values, **dict(header)})
    body += tail
    return crafted(body, descriptor=SECTOR, text=len(text), grains=where, tables=tables_at, gd=gd,
                   gt=tables_at + SECTOR, footer_marker=footer_marker, eos=eos)


# --- VHD

FOOTER_FIELDS = {"cookie": (0, "8s"), "features": (8, ">I"), "version": (12, ">I"),
                 "data": (16, ">Q"), "time": (24, ">I"), "creator": (28, "4s"),
                 "creator_version": (32, ">I"), "host": (36, "4s"), "original": (40, ">Q"),
                 "size": (48, ">Q"), "cylinders": (56, ">H"), "heads": (58, "B"),
                 "sectors": (59, "B"), "type": (60, ">I"), "checksum": (64, ">I"),
                 "uuid": (68, "16s"), "saved": (84, "B")}
DYNAMIC_FIELDS = {"cookie": (0, "8s"), "data": (8, ">Q"), "table": (16, ">Q"),
                  "version": (24, ">I"), "entries": (28, ">I"), "block": (32, ">I"),
                  "checksum": (36, ">I"), "parent": (40, "16s"), "parent_time": (56, ">I"),
                  "reserved": (60, ">I"), "parent_name": (64, "512s"), "locators": (576, "192s")}
VHD_UNUSED = 0xFFFFFFFF


def vhd_sum(block, table):
    """One's complement of the sum of all bytes but the checksum's, there."""
    at = table["checksum"][0]
    block[at:at + 4] = bytes(4)
    block[at:at + 4] = struct.pack(">I", ~sum(block) & 0xFFFFFFFF)
    return bytes(block)


def vhd_footer(size, kind, wrong_sum=0, /, **changes):
    """512 bytes; wrong_sum: bits of the checksum to turn over."""
    values = {"cookie": b"conectix", "features": 2, "version": 0x10000,
              "data": AT_END if kind == 2 else SECTOR, "time": 0x2A000000, "creator": b"crft",
              "creator_version": 0x10000, "host": b"Wi2k", "original": size, "size": size,
              "cylinders": 20, "heads": 16, "sectors": 63, "type": kind,
              "uuid": noise(16, 77), **changes}
    block = bytearray(vhd_sum(fields(FOOTER_FIELDS, SECTOR, values), FOOTER_FIELDS))
    struct.pack_into(">I", block, 64, struct.unpack_from(">I", block, 64)[0] ^ wrong_sum)
    if "checksum" in changes:
        struct.pack_into(">I", block, 64, changes["checksum"])
    return bytes(block)


def vhd_fixed(disk, data=None, /, wrong_sum=0, **changes):
    """The disk's bytes and a footer; data: other bytes in place of the disk's."""
    data = disk if data is None else data
    return crafted(data + vhd_footer(len(disk), 2, wrong_sum, **changes), footer=len(data))


def vhd_dynamic(disk, block=2 * MIB, dynamic=(), first=(), last=(), both=(), table=(), bitmap=(),
                wrong_sum=0, gap=b"", trailing=b"", unset=b"", extra_entries=0, kind=3):
    """Footer copy, dynamic header, block table, blocks, footer.

    bitmap: block -> bitmap's bytes; table: entry -> sector; wrong_sum: of the dynamic header;
    gap: bytes before the last footer; unset: what stands in sectors whose bit is not set."""
    blocks = -(-len(disk) // block)
    values = {"cookie": b"cxsparse", "data": AT_END, "table": 3 * SECTOR, "version": 0x10000,
              "entries": blocks + extra_entries, "block": block, **dict(dynamic)}
    header = bytearray(vhd_sum(fields(DYNAMIC_FIELDS, 2 * SECTOR, values), DYNAMIC_FIELDS))
    struct.pack_into(">I", header, 36, struct.unpack_from(">I", header, 36)[0] ^ wrong_sum)
    entries = [VHD_UNUSED] * (blocks + extra_entries)
    table_bytes = up(4 * len(entries), SECTOR)
    data, where = bytearray(), {}
    bits_bytes = up(max(block // SECTOR, 8) // 8, SECTOR)
    start = 3 * SECTOR + table_bytes
    for i in range(blocks):
        piece = disk[i * block:(i + 1) * block].ljust(block, b"\0")
        if not holds(piece):
            continue
        entries[i] = (start + len(data)) // SECTOR
        where[i] = start + len(data)
        bits = bytearray(bits_bytes)
        content = bytearray(piece)
        for s in range(block // SECTOR):
            if holds(piece[s * SECTOR:(s + 1) * SECTOR]):
                bits[s // 8] |= 0x80 >> s % 8
            elif unset:
                content[s * SECTOR:(s + 1) * SECTOR] = unset.ljust(SECTOR, b"\0")
        data += dict(bitmap).get(i, bits) + content
    for i, sector in dict(table).items():
        entries[i] = sector
    bat = struct.pack(">%dI" % len(entries), *entries).ljust(table_bytes, b"\xff")
    footers = [vhd_footer(len(disk), kind, **{**dict(both), **dict(changes)})
               for changes in (first, last)]
    image = footers[0] + bytes(header) + bat + data + gap
    return crafted(image + footers[1] + trailing, table=3 * SECTOR, blocks=where,
                   footer=len(image), bitmap=bits_bytes, end=start + len(data))


# --- VHDX

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc32c_zeros_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


CRC32C = crc32c_zeros_table()
CRC_KNOWN = {} # 64 KiB in Python take a while, and most images share their tables

REGION_BAT = "2DC27766-F623-4200-9D64-115E9BFD4A08"
REGION_METADATA = "8B7CA206-4790-4B9A-B8FE-575F050F886E"
ITEM_FILE = "CAA16737-FA36-4D43-B3B6-33F0AA44E76B"
ITEM_SIZE = "2FA54224-CD1B-4876-B211-5DBED83BF4B8"
ITEM_ID = "BECA12AB-B2E6-4523-93EF-C309E000C746"
ITEM_LOGICAL = "8141BF1D-A96F-4709-BA47-F233A8FAAB5F"
ITEM_PHYSICAL = "CDA348C7-445D-4471-9CC9-E9885251C556"
ITEM_PARENT = "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C"
LOCATOR_VHDX = "B04AEFB7-D19E-4A81-B789-25B8E9445913"
HEADER_1, HEADER_2, REGIONS_1, REGIONS_2 = 64 * KIB, 128 * KIB, 192 * KIB, 256 * KIB
ABSENT, UNDEFINED, ZERO, UNMAPPED, PRESENT, PARTIAL = 0, 1, 2, 3, 6, 7
LOG_AT, META_AT, BAT_AT, BLOCKS_AT = MIB, 2 * MIB, 3 * MIB, 4 * MIB


def guid(text):
    return uuid.UUID(text).bytes_le


def summed(block):
    """Put the CRC-32C of the block, its own field as zero, into bytes 4 to 7."""
    block = bytearray(block)
    block[4:8] = bytes(4)
    key = hashlib.sha256(block).digest()
    if key not in CRC_KNOWN:
        CRC_KNOWN[key] = crc32c(block)
    block[4:8] = struct.pack("<I", CRC_KNOWN[key])
    return bytes(block)


def vhdx_header(sequence=1, log=bytes(16), log_version=0, version=1, log_length=MIB, log_at=LOG_AT,
                signature=b"head", reserved=b""):
    return summed((signature + struct.pack("<IQ", 0, sequence) + noise(16, 1) + noise(16, 2) + log
                   + struct.pack("<HHIQ", log_version, version, log_length, log_at)
                   + reserved).ljust(4 * KIB, b"\0"))


def vhdx_regions(entries, count=None, signature=b"regi"):
    """entries: (GUID, offset, length, required)."""
    block = signature + struct.pack("<III", 0, len(entries) if count is None else count, 0)
    for name, at, length, required in entries:
        block += guid(name) + struct.pack("<QII", at, length, required)
    return summed(block.ljust(64 * KIB, b"\0"))


def vhdx_items(size, block, logical, flags):
    """name -> (bytes, flags): what the metadata region must hold."""
    return {ITEM_FILE: (struct.pack("<II", block, flags), 4),
            ITEM_SIZE: (struct.pack("<Q", size), 6), ITEM_ID: (noise(16, 3), 6),
            ITEM_LOGICAL: (struct.pack("<I", logical), 6),
            ITEM_PHYSICAL: (struct.pack("<I", 4096), 6)}


def vhdx_metadata(items, count=None, place=(), signature=b"metadata", length=MIB):
    """The table, and the items from 64 KiB on; place: item -> (offset, length) in its entry."""
    entries, values = b"", bytearray()
    for name, (value, flags) in items.items():
        at, long = dict(place).get(name, (64 * KIB + len(values), len(value)))
        entries += guid(name) + struct.pack("<IIII", at, long, flags, 0)
        values += padded(value, 8)
    block = signature + struct.pack("<HH20x", 0, len(items) if count is None else count) + entries
    return (block.ljust(64 * KIB, b"\0") + values).ljust(length, b"\0")


def vhdx(disk, block=MIB, size=None, logical=512, first=(), second=(), log=b"", regions=None,
         regions2=None, region_count=None, items=(), without=(), item_count=None, place=(),
         metadata_signature=b"metadata", entry=(), flags=0, creator=b"", signature=b"vhdxfile",
         bat_length=None, headers=None, extra=b"", has_blocks=True):
    """Identifier, two headers, two region tables, log, metadata, block table, blocks.

    first, second: changes of the headers, or None for a header of zeros; items: name -> (bytes,
    flags) in place of or beside the sound ones; entry: number -> 64 bits of the block table;
    has_blocks: False for a table that says absent throughout."""
    size = len(disk) if size is None else size
    ratio = (1 << 23) * logical // block if logical in (512, 4096) else 4096
    blocks = -(-size // block)
    total = blocks + (blocks - 1) // ratio
    bat_bytes = up(max(8 * total, 1), MIB) if bat_length is None else bat_length
    start = up(BAT_AT + bat_bytes, MIB)
    entries, pieces, where, at = bytearray(up(max(8 * total, 1), MIB)), {}, {}, start
    for i in range(-(-len(disk) // block) if has_blocks else 0):
        piece = disk[i * block:(i + 1) * block]
        if holds(piece):
            struct.pack_into("<Q", entries, 8 * (i + i // ratio), at | PRESENT)
            pieces[at], where[i] = piece, at
            at += block
    for i, value in dict(entry).items():
        struct.pack_into("<Q", entries, 8 * i, value)
    all_items = {**vhdx_items(size, block, logical, flags), **dict(items)}
    for name in without:
        del all_items[name]
    both = [(REGION_BAT, BAT_AT, bat_bytes, 1), (REGION_METADATA, META_AT, MIB, 1)]
    image = {0: signature + creator.ljust(SECTOR, b"\0"),
             HEADER_1: b"" if first is None else vhdx_header(**{"sequence": 1, **dict(first)}),
             HEADER_2: b"" if second is None else vhdx_header(**{"sequence": 2, **dict(second)}),
             REGIONS_1: vhdx_regions(both if regions is None else regions, region_count),
             LOG_AT: log,
             META_AT: vhdx_metadata(all_items, item_count, place, metadata_signature),
             BAT_AT: bytes(entries), **pieces}
    image[REGIONS_2] = image[REGIONS_1] if regions2 is None else regions2
    whole = bytearray(at)
    for offset, piece in image.items():
        whole[offset:offset + len(piece)] = piece
    return crafted(bytes(whole) + extra, blocks=where, end=at)


def vhdx_log_entry(log, sequence=1, tail=0, file_size=8 * MIB, data=None, at=0):
    """A log entry of one descriptor, valid: 4 KiB of header and descriptors, 4 KiB of data."""
    data = noise(4 * KIB, 9) if data is None else data
    head = b"loge" + struct.pack("<IIIQII", 0, 8 * KIB, tail, sequence, 1, 0) + log \
        + struct.pack("<QQ", file_size, file_size)
    descriptor = b"desc" + data[-4:] + data[:8] + struct.pack("<QQ", at, sequence)
    sector = b"data" + struct.pack("<I", sequence >> 32) + data[8:-4] \
        + struct.pack("<I", sequence & 0xFFFFFFFF)
    return summed((head + descriptor).ljust(4 * KIB, b"\0") + sector)


# --- qcow2

QCOW2_FIELDS = {"magic": (0, "4s"), "version": (4, ">I"), "backing": (8, ">Q"),
                "backing_size": (16, ">I"), "bits": (20, ">I"), "size": (24, ">Q"),
                "crypt": (32, ">I"), "l1_size": (36, ">I"), "l1": (40, ">Q"), "rt": (48, ">Q"),
                "rt_clusters": (56, ">I"), "snapshots": (60, ">I"), "snapshots_at": (64, ">Q"),
                "incompatible": (72, ">Q"), "compatible": (80, ">Q"), "autoclear": (88, ">Q"),
                "order": (96, ">I"), "length": (100, ">I"), "compression": (104, "B")}


def qcow2(disk, bits=16, header=(), extensions=(), texts=(), l1=(), l2=(), drop_tail=0):
    """Version 3, all clusters of the disk that hold something; extensions: (type, bytes);
    texts: (offset, bytes) written over the first cluster."""
    cluster = 1 << bits
    clusters = -(-len(disk) // cluster)
    assert clusters <= cluster // 8
    # clusters: 0 header, 1 refcount table, 2 refcount block, 3 L1, 4 L2, then data
    numbers, data = [0] * (cluster // 8), bytearray()
    for i in range(clusters):
        piece = disk[i * cluster:(i + 1) * cluster]
        if holds(piece):
            numbers[i] = 5 * cluster + len(data) | 1 << 63
            data += piece.ljust(cluster, b"\0")
    for i, value in dict(l2).items():
        numbers[i] = value
    values = {"magic": b"QFI\xfb", "version": 3, "bits": bits, "size": len(disk), "l1_size": 1,
              "l1": 3 * cluster, "rt": cluster, "rt_clusters": 1, "order": 4, "length": 104,
              **dict(header)}
    head = bytes(fields(QCOW2_FIELDS, values["length"] if values["length"] >= 105 else 105,
                        values)[:max(values["length"], 104)])
    for kind, body in extensions:
        head += struct.pack(">II", kind, len(body)) + padded(body, 8)
    head = bytearray(head.ljust(cluster, b"\0"))
    for at, text in texts:
        head[at:at + len(text)] = text
    used = 5 + len(data) // cluster
    table = [4 * cluster | 1 << 63]
    for i, value in dict(l1).items():
        table[i] = value
    image = bytes(head) + struct.pack(">Q", 2 * cluster).ljust(cluster, b"\0") \
        + struct.pack(">%dH" % used, *[1] * used).ljust(cluster, b"\0") \
        + struct.pack(">%dQ" % len(table), *table).ljust(cluster, b"\0") \
        + struct.pack(">%dQ" % len(numbers), *numbers) + data
    return crafted(image[:len(image) - drop_tail], data=5 * cluster)


# --- VDI

VDI_TEXT = b"<<< Oracle VM VirtualBox Disk Image >>>\n"
VDI_MAGIC = VDI_TEXT.ljust(64, b"\0") + b"\x7f\x10\xda\xbe\1\0\1\0"
VDI_FIELDS = {"magic": (0, "72s"), "header_size": (72, "<I"), "type": (76, "<I"),
              "map": (340, "<I"),
              "data": (344, "<I"), "sector": (360, "<I"), "size": (368, "<Q"), "block": (376, "<I"),
              "blocks": (384, "<I"), "allocated": (388, "<I"), "uuid": (392, "16s"),
              "snapshot": (408, "16s"), "link": (424, "16s"), "parent": (440, "16s")}


def vdi(disk, header=(), entry=()):
    """Header, map of blocks of a MiB from byte 512 on, blocks; entry: number -> its block."""
    blocks = -(-len(disk) // MIB)
    numbers, data = [0xFFFFFFFF] * blocks, bytearray()
    for i in range(blocks):
        piece = disk[i * MIB:(i + 1) * MIB]
        if holds(piece):
            numbers[i] = len(data) // MIB
            data += piece.ljust(MIB, b"\0")
    allocated = len(data) // MIB
    for i, value in dict(entry).items():
        numbers[i] = value
    values = {"magic": VDI_MAGIC, "header_size": 384, "type": 1, "map": SECTOR, "data": 2 * SECTOR,
              "sector": SECTOR, "size": len(disk), "block": MIB, "blocks": blocks,
              "allocated": allocated, "uuid": noise(16, 70), "snapshot": noise(16, 71),
              **dict(header)}
    return crafted(bytes(fields(VDI_FIELDS, SECTOR, values))
                   + padded(struct.pack("<%dI" % blocks, *numbers)) + data)


# --- what a raw disk holds

def mbr(disk, partitions, code=b""):
    """disk with a partition table: (status, type, first sector, sectors)."""
    disk = bytearray(disk)
    boot_record(disk, 0, partitions)
    disk[:len(code)] = code
    return bytes(disk)


def boot_record(disk, at, partitions):
    for i, (status, kind, start, count) in enumerate(partitions):
        struct.pack_into("<B3sB3sII", disk, at + 446 + 16 * i, status, b"\xfe\xff\xff", kind,
                         b"\xfe\xff\xff", start, count)
    disk[at + 510:at + 512] = b"\x55\xaa"


def gpt(disk, count=128, entry_size=128, partitions=((2048, 2303),)):
    """disk with a GUID partition table of that many entries, both copies sound."""
    disk = bytearray(disk)
    sectors = len(disk) // SECTOR
    entries = bytearray(count * entry_size)
    for i, (first, last) in enumerate(partitions):
        struct.pack_into("<16s16sQQQ", entries, i * entry_size,
                         guid("0FC63DAF-8483-4772-8E79-3D69D8477DE4"), noise(16, 50 + i), first,
                         last, 0)
    table_sectors = up(len(entries), SECTOR) // SECTOR
    for own, other, table in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 1 - table_sectors)):
        header = bytearray(struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, 2 + table_sectors,
            sectors - 2 - table_sectors, noise(16, 60), table, count, entry_size,
            zlib.crc32(entries)))
        struct.pack_into("<I", header, 16, zlib.crc32(header))
        disk[own * SECTOR:own * SECTOR + 92] = header
        disk[table * SECTOR:table * SECTOR + len(entries)] = entries
    return mbr(disk, [(0, 0xEE, 1, sectors - 1)])
