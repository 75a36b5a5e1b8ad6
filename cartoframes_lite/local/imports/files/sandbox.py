"""Run a script that cannot open sockets: ``python sandbox.py script argument...``.

File formats and the libraries below GDAL have many ways to refer to a server; a seccomp filter blocks all of them.
Supported on Linux on x86_64 and aarch64. Elsewhere the network is disabled only by GDAL's environment variables.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import runpy
import sys
from typing import ClassVar

# linux/audit.h and the system call tables: architecture id and number of socket(2) by machine.
_PROCESSORS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
# linux/prctl.h
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
# linux/filter.h and linux/seccomp.h: instructions (load word, jump if equal, return) and return values.
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


def block_sockets() -> bool:
    """Block socket(2) for this process and its children; return whether the filter was installed."""
    if sys.platform != "linux" or platform.machine() not in _PROCESSORS:
        return False
    processor, socket = _PROCESSORS[platform.machine()]
    steps = (_Step * 6)(
        _Step(_LOAD, 0, 0, _PROCESSOR_AT),
        _Step(_JUMP_IF_EQUAL, 0, 2, processor),
        _Step(_LOAD, 0, 0, _NUMBER_AT),
        _Step(_JUMP_IF_EQUAL, 0, 1, socket),
        _Step(_RETURN, 0, 0, _REFUSE),  # also system calls of another architecture
        _Step(_RETURN, 0, 0, _ALLOW),
    )
    prctl = ctypes.CDLL(None).prctl
    if prctl(_SET_NO_NEW_PRIVILEGES, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        return False
    return not prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(_Program(6, steps)))


if __name__ == "__main__":
    block_sockets()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
