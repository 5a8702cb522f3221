"""packed - archives around disk images, sound or with one defect: OVAs (DMTF DSP0243) and zips.

Archives are made by Python's tarfile and zipfile, and by hand where those would not make the defect.
Nothing here knows how the toolkit reads them."""
import hashlib
import io
import json
import lzma
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib

import hostile

ENVELOPE = ('xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
            'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" '
            'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
            'CIM_ResourceAllocationSettingData"')
STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"


def xz(data, zeros=0, **how):
    """data and then zeros, in little memory: children begin with their parent's."""
    packer = lzma.LZMACompressor(**{"preset": 1, **how})
    step = 1 << 20
    return packer.compress(data) + b"".join(packer.compress(bytes(step))
                                            for _ in range(zeros // step)) + packer.flush()


def attributes(values):
    return "".join(' ovf:%s="%s"' % (name, value) for name, value in values.items()
                   if value is not None)


def item(kind, instance, parent=None, address=None, unit=None, disk=None, form="ovf:/disk/%s"):
    """A device of the hardware section."""
    properties = [("Address", address), ("AddressOnParent", unit),
                  ("ElementName", "device %s" % instance),
                  ("HostResource", disk and form % disk), ("InstanceID", instance),
                  ("Parent", parent), ("ResourceType", kind)]
    return "<Item>%s</Item>" % "".join("<rasd:%s>%s</rasd:%s>" % (name, value, name)
                                       for name, value in properties if value is not None)


def ovf(files, disks, items=(), head="", tail=""):
    """The description; files and disks are dicts of attributes."""
    return ('<?xml version="1.0" encoding="UTF-8"?>\n%s<Envelope %s>\n<References>%s</References>\n'
            "<DiskSection><Info>Disks</Info>%s</DiskSection>\n"
            '<VirtualSystem ovf:id="vm"><Info>A machine</Info><VirtualHardwareSection>'
            "<Info>Hardware</Info>%s</VirtualHardwareSection></VirtualSystem>%s</Envelope>\n"
            % (head, ENVELOPE, "".join("<File%s/>" % attributes(f) for f in files),
               "".join("<Disk%s/>" % attributes(d) for d in disks), "".join(items), tail)).encode()


def one_disk(name, data, capacity, file=(), disk=(), **more):
    """The description of a machine with one disk; file and disk change attributes."""
    return ovf([{"href": name, "id": "file1", "size": len(data), **dict(file)}],
               [{"capacity": capacity, "capacityAllocationUnits": "byte", "diskId": "vmdisk1",
                 "fileRef": "file1", "format": STREAM, **dict(disk)}],
               [item(6, 3, address=0), item(17, 4, parent=3, unit=0, disk="vmdisk1")], **more)


def digests(members, kind="SHA256", form="%s(%s)= %s\n"):
    """The manifest of (name, bytes)."""
    return "".join(form % (kind, name, hashlib.new(kind.lower(), data).hexdigest())
                   for name, data in members).encode()


def tar(members, form=tarfile.USTAR_FORMAT, **changes):
    """members: (name, bytes), or (name, bytes, {field of TarInfo: value})."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, **changes) as archive:
        for name, data, *more in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in (more[0] if more else {}).items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ova(disk, capacity, name="box-disk1.vmdk", manifest="SHA256", at_end=False, change=(), extra=(),
        description=None, form=tarfile.USTAR_FORMAT, **more):
    """One disk as an OVA; change: {member: function of its bytes}, done after the digests."""
    members = [("box.ovf", description or one_disk(name, disk, capacity, **more)), (name, disk)]
    sums = [("box.mf", digests(members, manifest))] if manifest else []
    members = members + sums if at_end else members[:1] + sums + members[1:]
    members = [(n, dict(change).get(n, lambda d: d)(d)) for n, d in members]
    return tar([*members, *extra], form)


# --- zip, field by field (PKWARE APPNOTE 6.3)

def zip_member(name, data, method=8, flags=0, packed=None, local=(), entry=(), made=0x0314,
               mode=0o100644, extra=b"", local_extra=b"", before=b"", after=b""):
    """(local header and data, function of the offset that gives the directory's entry); local and
    entry change fields of either."""
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packed if packed is not None else raw.compress(data) + raw.flush() if method == 8 else data
    name = name.encode() if isinstance(name, str) else name
    sizes = {"flags": flags, "method": method, "crc": zlib.crc32(data), "packed": len(body),
             "size": len(data), "name": name}
    l = {**sizes, **dict(local)}
    header = struct.pack("<IHHHHHIIIHH", 0x04034b50, 20, l["flags"], l["method"], 0, 0x21, l["crc"],
                         l["packed"], l["size"], len(l["name"]), len(local_extra))

    def write(at):
        e = {**sizes, "at": at + len(before), "disk": 0, **dict(entry)}
        return struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, made, 20, e["flags"], e["method"], 0,
                           0x21, e["crc"], e["packed"], e["size"], len(e["name"]), len(extra), 0,
                           e["disk"], 0, mode << 16, e["at"]) + e["name"] + extra
    return before + header + l["name"] + local_extra + body + after, write


def zipped(members, comment=b"", end=(), tail=b""):
    """A zip file of zip_member's; end changes fields of the last record."""
    data, entries = b"", b""
    for body, write in members:
        entries += write(len(data))
        data += body
    e = {"disk": 0, "start": 0, "here": len(members), "all": len(members), "len": len(entries),
         "at": len(data), **dict(end)}
    return data + entries + struct.pack("<IHHHHIIH", 0x06054b50, e["disk"], e["start"], e["here"],
                                        e["all"], e["len"], e["at"], len(comment)) + comment + tail


# --- archives by others

def zip_of(*members, method=zipfile.ZIP_DEFLATED, out=None):
    out = out or io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


class OneWay(io.BytesIO):
    """A file like a pipe: a writer cannot go back and fill in what it did not know."""
    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation("a pipe")

    def tell(self):
        raise io.UnsupportedOperation("a pipe")


def by_program(*command):
    def pack(data):
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout
    return pack


def zip_by_program(data, directory, *options):
    with open(os.path.join(directory, "disk.img"), "wb") as file:
        file.write(data)
    path = os.path.join(directory, "made.zip")
    subprocess.run(["zip", "-q", *options, path, "disk.img"], cwd=directory, check=True)
    with open(path, "rb") as file:
        made = file.read()
    os.unlink(path)
    return made


# --- cases

class Packed(hostile.Case):
    """Cases whose format is spelled "raw.gz"; a job says the same by a stage."""
    def job(self, packed, **more):
        format, kind = packed.split(".")
        return {"format": format, "stages": [{"name": "unpack", "kind": kind, **more}]}

    def good(self, packed, data, disk=None, **how):
        with self.subTest("accepted", packed=packed):
            self.bench.accepted(self, data, packed, self.disk if disk is None else disk, **{"job": self.job(packed), **how})

    def bad(self, packed, data, *says, **how):
        with self.subTest("refused", packed=packed):
            self.bench.refused(self, data, packed, says, **{"job": self.job(packed), **how})


class Ova(hostile.Case):
    """Cases of OVAs with a VMDK in them."""
    format = "ova"
    kind = "vmdk"

    def job(self, **more):
        return {"format": self.kind, "stages": [{"name": "unpack", "kind": "ova", **more}]}

    def good(self, image, disk=None, **how):
        super().good(image, disk, **{"job": self.job(), **how})

    def bad(self, image, *says, **how):
        super().bad(image, *says, **{"job": self.job(), **how})

    def info(self, data, *options):
        result = self.bench.run(["info", "--output", "json", *options, self.bench.put(data)])
        self.assertEqual(result.status, 0, result.err)
        return json.loads(result.out)
