"""System calls that never wait: `core.serving.quick`."""

import ctypes
import errno
import runpy
import selectors
import socket
from collections.abc import Iterator

import pytest

from core.serving import quick


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class TestASocket:
    def test_is_read_as_far_as_it_goes(self, pair):
        ours, theirs = pair
        theirs.sendall(b"\0one" * 20_000)
        received = quick.receive(ours)
        assert len(received) == quick.READ_AT_ONCE
        assert received + quick.receive(ours) == b"\0one" * 20_000

    def test_that_says_nothing_is_not_waited_for(self, pair):
        assert pair[0].gettimeout() is None
        with pytest.raises(BlockingIOError):
            quick.receive(pair[0])

    def test_that_takes_nothing_is_not_waited_for(self, pair):
        ours, _ = pair

        def fill() -> None:
            while True:
                assert 0 < quick.send(ours, b"x" * 100_000) <= 100_000

        with pytest.raises(BlockingIOError):
            fill()

    def test_says_when_the_other_end_is_gone(self, pair):
        ours, theirs = pair
        theirs.close()
        assert quick.receive(ours) == b""
        with pytest.raises(BrokenPipeError):
            quick.send(ours, b"x")

    def test_that_is_closed_is_an_error(self, pair):
        pair[0].close()
        for call in (lambda: quick.receive(pair[0]), lambda: quick.send(pair[0], b"x")):
            with pytest.raises(OSError) as raised:
                call()
            assert raised.value.errno == errno.EBADF

    @pytest.mark.skipif(not quick.IS_LINUX, reason="elsewhere these are Python's own calls")
    def test_keeps_the_interpreter(self):
        assert isinstance(quick._libc, ctypes.PyDLL)


class TestElsewhereThanOnLinux:
    def test_a_socket_with_a_time_out_is_not_waited_for(self, pair, monkeypatch):
        monkeypatch.setattr(quick, "IS_LINUX", False)
        ours, _ = pair
        ours.settimeout(0.2)  # else the error would be another one

        def fill() -> None:
            while quick.send(ours, b"x" * 100_000):
                pass

        with pytest.raises(BlockingIOError):
            fill()


@pytest.mark.skipif(not quick.IS_LINUX, reason="epoll is Linux's")
@pytest.mark.parametrize(("machine", "begins", "size"), [("x86_64", 4, 12), ("aarch64", 8, 16)])
def test_an_event_is_laid_out_as_the_kernel_of_each_machine_has_it(
    machine, begins, size, monkeypatch
):
    monkeypatch.setattr("platform.machine", lambda: machine)
    layout = runpy.run_path(quick.__file__)["_Event"]
    assert (layout.data.offset, ctypes.sizeof(layout)) == (begins, size)


class TestASelector:
    def test_tells_what_can_be_read_until_told_to_look_away(self, pair):
        ours, theirs = pair
        with quick.Selector() as selector:
            selector.register(ours, selectors.EVENT_READ, "ours")
            assert selector.select(0) == []
            theirs.sendall(b"x")
            for _ in range(2):
                ((key, events),) = selector.select(1)
                assert (key.fileobj, key.data, events) == (ours, "ours", selectors.EVENT_READ)
            selector.unregister(ours)
            assert selector.select(0) == []
            selector.register(ours, selectors.EVENT_READ, "again")
            assert [key.data for key, _ in selector.select(1)] == ["again"]

    def test_watches_many(self, pair):
        ours, theirs = pair
        with quick.Selector() as selector:
            copies = [ours.dup() for _ in range(300)]
            for number, copy in enumerate(copies):
                selector.register(copy, selectors.EVENT_READ, number)
            theirs.sendall(b"x")
            assert sorted(key.data for key, _ in selector.select(1)) == list(range(300))
            for copy in copies:
                selector.unregister(copy)
                copy.close()
            assert selector.select(0) == []

    def test_refuses_what_cannot_be_watched(self, pair, tmp_path):
        ours, _ = pair
        with quick.Selector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            with pytest.raises(KeyError):
                selector.register(ours, selectors.EVENT_READ)
            with (tmp_path / "file").open("wb") as file:
                with pytest.raises(PermissionError):
                    selector.register(file, selectors.EVENT_READ)
                assert file not in selector.get_map()

    def test_forgets_what_was_closed_meanwhile(self, pair):
        ours, _ = pair
        with quick.Selector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            number = ours.fileno()
            ours.close()
            assert selector.unregister(number).fd == number
