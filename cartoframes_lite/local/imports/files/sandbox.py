"""Run a script that can open no socket: ``python sandbox.py script argument...``.

Formats and libraries beneath GDAL know many ways to name a server; the kernel refuses them all. Where this kernel
cannot be told so (only Linux can, on these processors), the script's environment has to do.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import runpy
import sys
from typing import ClassVar

# linux/audit.h and the tables of system calls: the name of the processor, and the number of socket(2) on it.
_PROCESSORS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
# linux/prctl.h
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
# linux/filter.h and linux/seccomp.h: load a word, jump if it is equal, return; what to return.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER_AT, _PROCESSOR_AT = 0, 4


class _Step(ctypes.Structure):
    _fields_: ClassVar = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_: ClassVar = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step))]


def refuse_sockets() -> bool:
    """Take the right to open sockets from this process and all it starts; tell whether that could be done."""
    if sys.platform != "linux" or platform.machine() not in _PROCESSORS:
        return False
    processor, socket = _PROCESSORS[platform.machine()]
    steps = (_Step * 6)(
        _Step(_LOAD, 0, 0, _PROCESSOR_AT),
        _Step(_JUMP_IF_EQUAL, 0, 2, processor),
        _Step(_LOAD, 0, 0, _NUMBER_AT),
        _Step(_JUMP_IF_EQUAL, 0, 1, socket),
        _Step(_RETURN, 0, 0, _REFUSE),  # as well of calls in the way of another processor
        _Step(_RETURN, 0, 0, _ALLOW),
    )
    prctl = ctypes.CDLL(None).prctl
    if prctl(_SET_NO_NEW_PRIVILEGES, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        return False
    return not prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(_Program(6, steps)))


if __name__ == "__main__":
    refuse_sockets()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
