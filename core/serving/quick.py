"""System calls that never wait, made without letting go of Python's interpreter.

Python lets other threads run during each system call, and the caller then waits until one of them
lets go again: a millisecond or more where threads are busy, for a call that takes a microsecond.
The main thread makes several for each request, and that kept it from telling a crowd in time that
it came in vain. `ctypes.PyDLL` calls the C library and keeps the interpreter. So nothing here may
ever wait: sockets are read and written with MSG_DONTWAIT.

Elsewhere than on Linux it is Python's own calls.
"""

import ctypes
import os
import platform
import select
import selectors
import socket
import sys
from typing import Any

IS_LINUX = sys.platform == "linux"
READ_AT_ONCE = 65_536

if IS_LINUX:
    _libc = ctypes.PyDLL(None, use_errno=True)
    _recv, _send, _epoll_ctl = _libc.recv, _libc.send, _libc.epoll_ctl
    _recv.restype = _send.restype = ctypes.c_ssize_t
    _recv.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    _send.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    _buffer = ctypes.create_string_buffer(READ_AT_ONCE)  # of the one thread that reads


def receive(sock: socket.socket) -> bytes:
    """What has come, at most READ_AT_ONCE bytes; nothing if the client sends no more.

    For one thread of the process only.

    Raises:
        BlockingIOError: nothing has come.
        OSError: as `recv` has it.
    """
    if not IS_LINUX:
        return sock.recv(READ_AT_ONCE)
    count: int = _recv(sock.fileno(), _buffer, READ_AT_ONCE, socket.MSG_DONTWAIT)
    if count < 0:
        raise _error()
    return ctypes.string_at(_buffer, count)


def send(sock: socket.socket, data: bytes) -> int:
    """How many bytes were taken.

    Raises:
        BlockingIOError: none were.
        OSError: as `send` has it.
    """
    if not IS_LINUX:
        sock.setblocking(False)  # a thread may have left it with a time-out
        return sock.send(data)
    flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    count: int = _send(sock.fileno(), data, len(data), flags)
    if count < 0:
        raise _error()
    return count


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


if IS_LINUX:

    class _Data(ctypes.Union):
        """`epoll_data_t`: 64 bits, of which Python's `poll` wants the file."""

        _fields_ = [("fd", ctypes.c_int), ("u64", ctypes.c_uint64)]

    class _Event(ctypes.Structure):
        """`struct epoll_event`, packed on x86-64 alone: elsewhere its data begins at the eighth."""

        if platform.machine() == "x86_64":
            _pack_ = 1
        _fields_ = [("events", ctypes.c_uint32), ("data", _Data)]

    _ADD, _DELETE = 1, 2  # EPOLL_CTL_…
    _epoll_ctl.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Event)]

    class _Epoll:
        """What `EpollSelector` asks of a `select.epoll`."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self.fileno, self.poll, self.close = (
                self._epoll.fileno,
                self._epoll.poll,
                self._epoll.close,
            )
            self._number = self._epoll.fileno()

        def register(self, fd: int, events: int) -> None:
            if _epoll_ctl(self._number, _ADD, fd, ctypes.byref(_Event(events, _Data(fd)))) < 0:
                raise _error()

        def unregister(self, fd: int) -> None:
            if _epoll_ctl(self._number, _DELETE, fd, ctypes.byref(_Event())) < 0:
                raise _error()

    class Selector(selectors.EpollSelector):
        """The standard library's, which watches and looks away quickly."""

        _selector_cls: Any = _Epoll

else:
    Selector: Any = selectors.DefaultSelector  # type: ignore[no-redef]
