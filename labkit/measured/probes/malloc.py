"""Settle malloc, and read whether it takes what asyncio reads into from the system each time.

The plan. asyncio reads each time into a new buffer of 256 KiB. The malloc of glibc takes a block of
more than 128 KiB from the system (mmap), has it cut to what came (mremap), and gives it back
(munmap): three system calls and a page fault for each read, a fifth of what a request of aiohttp
costs. Once a larger block that came so was freed, it raises its threshold to that size, and all
this is over. uvloop has one buffer and knows nothing of it.

What must hold: a request costs here what it costs in a user's own program. Such a program frees no
block of that size before its first request, and so nothing of the lab's may, neither before the
window nor in it: an empty histogram did, and made aiohttp on asyncio look a quarter cheaper. Nor
may it find as much free at the end of the heap by chance, as where modules were compiled before:
`settle` gives that back. What a strategy itself or a large body frees moves the threshold here as
it does elsewhere.

Rejected: to free such a block, or to set the threshold by mallopt, in every arm. All arms would be
alike, and each cheaper than the program that its reader writes. To fix the threshold where it
begins would take from a program of large bodies what malloc gives it.

From Python 3.13 on there is little to see: the interpreter's table of names outgrows 400 KB, and so
frees such a block, while aiohttp is imported (3.14) or a hundred names later (3.13), so that no
program of any size has the three calls. On 3.11 and 3.12 some 5,000 names are left to that.

So no setting is changed; the state is read before the strategy starts and when the window closes,
and the record has both.
"""

import ctypes

# What asyncio reads at most at a time (`max_size` in `asyncio.selector_events`).
READ_BYTES = 256 * 1024
# What a `bytes` takes besides its content.
_HEAD_BYTES = 33
_COUNTERS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Counters(ctypes.Structure):
    """`struct mallinfo2` of glibc; `hblks` are the blocks that came by mmap."""

    _fields_ = [(name, ctypes.c_size_t) for name in _COUNTERS.split()]


def settle() -> bool | None:
    """Give back what malloc has free; return whether it takes such a buffer by mmap now.

    None where that cannot be read, as with glibc before 2.33 and on other systems. An allocator
    that was loaded before glibc's own is asked by the same names: False, as it shows no such block.
    """
    libc = ctypes.CDLL(None)
    try:
        libc.malloc_trim(0)
        counters = libc.mallinfo2
    except AttributeError:
        return None
    counters.restype = _Counters
    libc.malloc.restype = libc.realloc.restype = ctypes.c_void_p
    before = counters().hblks
    buffer = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(READ_BYTES + _HEAD_BYTES)))
    maps = counters().hblks > before
    # Cut as asyncio has it cut: given back whole, it would move the threshold itself.
    libc.free(ctypes.c_void_p(libc.realloc(buffer, ctypes.c_size_t(1))))
    return bool(maps)
