"""bootsector - guests of one sector: they start in a tenth of a second, print, and do one thing.

    disk = bootsector.write(path, bootsector.PRINT + bootsector.HANG, "Linux version 6.1\\r\\n")

A program is made of the pieces below, in assembler for a processor in real mode; the text stands
behind it.  Assembled by as and ld of binutils, which gcc needs itself."""
import os
import shutil
import subprocess
import sys
import tempfile

SECTOR = 512
CODE_MAX = 440  # the partition table begins behind it, and the disk's signature

START = """
    .code16
    .globl _start
_start:
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7000, %sp
    movb %dl, drive
"""
PRINT = """
    movw $text, %si
    call print
"""
END = """
print:
    pushfw
    cli /* SeaBIOS still prints, from its timer, on the same line */
1:  lodsb
    testb %al, %al
    jz 2f
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 1b
2:  popfw
    ret
drive: .byte 0
text:
"""

HANG = """
    cli
1:  hlt
    jmp 1b
"""
# by the keyboard controller
RESET = """
    movb $0xfe, %al
    outb %al, $0x64
""" + HANG
# by ACPI, where SeaBIOS puts its registers on this kind of machine
POWER_OFF = """
    movw $0x604, %dx
    movw $0x2000, %ax
    outw %ax, %dx
""" + HANG
FLOOD = """
1:  movw $text, %si
    call print
    jmp 1b
"""
# Is there a PCI device of class network, Ethernet (PCI BIOS 2.1, B103)?  Says "N+" or "N-".
FIND_NETWORK = """
    movw $0xb103, %ax
    movl $0x020000, %ecx
    xorw %si, %si
    int $0x1a
    movb $'+', network + 1
    jnc 1f
    movb $'-', network + 1
1:  movw $network, %si
    call print
    jmp 2f
network: .asciz "N?"
2:
"""
# Writes this sector to the disk's second and says "W+", or "W-" when it could not.
WRITE = """
    movw $0x0301, %ax
    movw $0x7c00, %bx
    movw $0x0002, %cx
    movb $0, %dh
    movb drive, %dl
    int $0x13
    movb $'+', written + 1
    jnc 1f
    movb $'-', written + 1
1:  movw $written, %si
    call print
    jmp 2f
written: .asciz "W?"
2:
"""
# Writes 64 KiB and again 64 KiB behind them, for ever (extended write of int 13h).
FILL = """
1:  movw $packet, %si
    movb $0x43, %ah
    movb $0, %al
    movb drive, %dl
    int $0x13
    addl $64, packet + 8
    jmp 1b
    .balign 4
packet: .byte 16, 0
    .word 64
    .word 0, 0x1000
    .long 64, 0
"""


def assemble(program):
    """The machine code of a program, as it stands at 0x7c00."""
    for tool in "as", "ld":
        if not shutil.which(tool):
            print("skipped: %s is not installed" % tool)
            sys.exit(77)
    with tempfile.TemporaryDirectory() as tmp:
        thing, out = os.path.join(tmp, "o"), os.path.join(tmp, "bin")
        subprocess.run(["as", "--32", "-o", thing, "-"], input=program, text=True, check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", out,
                        thing], check=True)
        with open(out, "rb") as file:
            return file.read()


made = {}


def sector(program, text=""):
    """A boot sector of the program and its text."""
    if program not in made:
        made[program] = assemble(START + program + END)
    code = made[program] + text.encode() + b"\0"
    assert len(code) <= CODE_MAX, "the program has %d bytes" % len(code)
    return code.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def write(path, program, text="", size=1 << 20):
    """A disk of `size` bytes that begins with that boot sector; returns its path."""
    with open(path, "wb") as disk:
        disk.write(sector(program, text))
        disk.truncate(size)
    return path
