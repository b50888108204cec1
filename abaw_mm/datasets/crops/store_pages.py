"""Read the file of an LMDB store without trusting it."""

import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial
from struct import unpack_from

HEADER = 16  # bytes at the start of a page: its number, flags at 10, end of the offsets at 12
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8  # flags of a page
BIG = 1  # flag of a node whose value is in pages of its own
MAGIC = 0xBEEFC0DE
MAX_DEPTH = 32  # of a tree, as in LMDB itself


class StorePages:
    """Keys and values of a store, read from its pages.

    LMDB trusts all sizes and offsets of its file; one that is damaged makes it read beyond the end,
    which kills the process. Every offset is checked here, so that damage is an error. The layout is
    that of LMDB 0.9 (``mdb.c``: ``MDB_meta``, ``MDB_page``, ``MDB_node``). The memory map may be
    shared between threads and across forks.

    Args:
        path: The file, ``data.mdb``.

    Attributes:
        size (int): Bytes of the file.
        expected_size (int): Bytes that the file should have.

    Raises:
        OSError: If the file cannot be read.
        ValueError, struct.error: If the file is empty or does not begin as a store.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        with open(path, 'rb') as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self._data)
        self._page_size = unpack_from('<I', self._data, 40)[0]
        # Each transaction writes one of the first two pages; the later one counts.
        _, self._last, self._depth, self._root = max(map(self._read_meta, (0, self._page_size)))
        self._branches: dict[int, tuple[list[bytes], list[int]]] = {}  # few, and read each time
        self.expected_size = (self._last + 1) * self._page_size

    def _read_meta(self, start: int) -> tuple[int, int, int, int]:
        """Return transaction, last page, depth and root of the tree."""
        (flags,) = unpack_from('<H', self._data, start + 10)
        magic, version = unpack_from('<II', self._data, start + HEADER)
        depth, root = unpack_from('<H32xQ', self._data, start + 94)
        last, transaction = unpack_from('<QQ', self._data, start + 136)
        if not flags & META or magic != MAGIC or version != 1 or depth > MAX_DEPTH:
            raise ValueError('no head of an LMDB store')
        return transaction, last, depth, root

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None without the key.

        Raises:
            ValueError, IndexError, struct.error: If a page is damaged.
        """
        number = self._root
        for _ in range(self._depth):
            branch = self._branches.get(number)
            if branch is None:
                page, flags, offsets = self._read_page(number)
                if flags & LEAF:
                    at = bisect_left(offsets, key, key=partial(_read_key, page))
                    if at == len(offsets) or _read_key(page, offsets[at]) != key:
                        return None
                    return self._read_value(page, offsets[at])
                keys = [_read_key(page, offset) for offset in offsets]
                branch = keys, [_read_child(page, offset) for offset in offsets]
                self._branches[number] = branch
            keys, children = branch
            number = children[bisect_right(keys, key, lo=1) - 1]  # the first key is not stored
        return None

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys that begin with a prefix, sorted, and their values.

        Raises:
            ValueError, IndexError, struct.error: If a page is damaged.
        """
        seen: set[int] = set()
        for page, offset in self._walk(self._root, self._depth, seen):
            key = _read_key(page, offset)
            if key.startswith(prefix):
                yield key, self._read_value(page, offset)
            elif key > prefix:
                return

    def _walk(self, number: int, depth: int, seen: set[int]) -> Iterator[tuple[bytes, int]]:
        """Yield the leaf page and the offset of each key below a page."""
        if not depth:
            return
        if number in seen:
            raise ValueError(f'page {number} is twice in the tree')
        seen.add(number)
        page, flags, offsets = self._read_page(number)
        for offset in offsets:
            if flags & BRANCH:
                yield from self._walk(_read_child(page, offset), depth - 1, seen)
            else:
                yield page, offset

    def _read_page(self, number: int) -> tuple[bytes, int, memoryview]:
        """Return a page of the tree, its flags, and the offsets of its nodes."""
        if not number <= self._last:
            raise ValueError(f'page {number} is beyond the end')
        start = number * self._page_size
        page = self._data[start : start + self._page_size]
        flags, end = unpack_from('<HH', page, 10)
        if flags & (BRANCH | LEAF) not in (BRANCH, LEAF) or not HEADER < end <= len(page):
            raise ValueError(f'page {number} is damaged')
        return page, flags, memoryview(page)[HEADER:end].cast('H')

    def _read_value(self, page: bytes, offset: int) -> bytes:
        size, flags, key_size = unpack_from('<IHH', page, offset)
        start = offset + 8 + key_size
        if not flags & BIG:
            value = page[start : start + size]
        else:
            (number,) = unpack_from('<Q', page, start)
            start = number * self._page_size
            flags, pages = unpack_from('<HI', self._data[start : start + HEADER], 10)
            if not flags & OVERFLOW or size > pages * self._page_size - HEADER:
                raise ValueError(f'page {number} is damaged')
            value = self._data[start + HEADER : start + HEADER + size]
        if len(value) != size:
            raise ValueError(f'a value of {size} bytes is beyond the end')
        return value


def _read_key(page: bytes, offset: int) -> bytes:
    size = page[offset + 6] | page[offset + 7] << 8
    return page[offset + 8 : offset + 8 + size]


def _read_child(page: bytes, offset: int) -> int:
    """Return the page that a node of a branch leads to."""
    low, high = unpack_from('<IH', page, offset)
    return low | high << 32
