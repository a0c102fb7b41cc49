"""The two hash functions of strings that Keras' layers have: FarmHash's Fingerprint64, and SipHash-2-4 with a key.

FarmHash is by Geoff Pike and Jyrki Alakuijala, SipHash by Jean-Philippe Aumasson and Daniel J. Bernstein. Numbers are
64 bits wide: all arithmetic is modulo 2**64.
"""

from collections.abc import Sequence

_ALL = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def fingerprint(text: bytes) -> int:
    """FarmHash's Fingerprint64."""
    length = len(text)
    if length <= 16:
        return _up_to_16(text)
    if length <= 32:
        return _up_to_32(text)
    return _up_to_64(text) if length <= 64 else _longer(text)


def siphash(text: bytes, key: Sequence[int]) -> int:
    """SipHash-2-4 with a key of two numbers."""
    k0, k1 = (part & _ALL for part in key)
    v0, v1, v2, v3 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    whole = len(text) // 8 * 8
    last = int.from_bytes(text[whole:], "little") | (len(text) & 255) << 56
    words = [int.from_bytes(text[at : at + 8], "little") for at in range(0, whole, 8)]
    for word in (*words, last):
        v3 ^= word
        v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3))
        v0 ^= word
    v2 ^= 255
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0, v2 = (v0 + v1) & _ALL, (v2 + v3) & _ALL
    v1, v3 = _left(v1, 13) ^ v0, _left(v3, 16) ^ v2
    v0, v2 = (_left(v0, 32) + v3) & _ALL, (v2 + v1) & _ALL
    v1, v3 = _left(v1, 17) ^ v2, _left(v3, 21) ^ v0
    return v0, v1, _left(v2, 32), v3


def _left(x: int, by: int) -> int:
    return ((x << by) | (x >> (64 - by))) & _ALL


def _right(x: int, by: int) -> int:
    return ((x >> by) | (x << (64 - by))) & _ALL


def _word(text: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(text[at : at + size], "little")


def _mixed(x: int) -> int:
    return x ^ (x >> 47)


def _pair(u: int, v: int, factor: int) -> int:
    """Two numbers as one."""
    a = _mixed((u ^ v) * factor & _ALL)
    return _mixed((v ^ a) * factor & _ALL) * factor & _ALL


def _up_to_16(text: bytes) -> int:
    length = len(text)
    factor = (_K2 + length * 2) & _ALL
    if length >= 8:
        a, b = (_word(text, 0) + _K2) & _ALL, _word(text, length - 8)
        c, d = (_right(b, 37) * factor + a) & _ALL, ((_right(a, 25) + b) * factor) & _ALL
        return _pair(c, d, factor)
    if length >= 4:
        return _pair((length + (_word(text, 0, 4) << 3)) & _ALL, _word(text, length - 4, 4), factor)
    if not length:
        return _K2
    y = (text[0] + (text[length >> 1] << 8)) & 0xFFFFFFFF
    z = (length + (text[length - 1] << 2)) & 0xFFFFFFFF
    return _mixed((y * _K2 ^ z * _K0) & _ALL) * _K2 & _ALL


def _up_to_32(text: bytes) -> int:
    length = len(text)
    factor = (_K2 + length * 2) & _ALL
    a, b = _word(text, 0) * _K1 & _ALL, _word(text, 8)
    c, d = _word(text, length - 8) * factor & _ALL, _word(text, length - 16) * _K2 & _ALL
    return _pair(
        (_right((a + b) & _ALL, 43) + _right(c, 30) + d) & _ALL,
        (a + _right((b + _K2) & _ALL, 18) + c) & _ALL,
        factor,
    )


def _up_to_64(text: bytes) -> int:
    length = len(text)
    factor = (_K2 + length * 2) & _ALL
    a, b = _word(text, 0) * _K2 & _ALL, _word(text, 8)
    c, d = _word(text, length - 8) * factor & _ALL, _word(text, length - 16) * _K2 & _ALL
    y = (_right((a + b) & _ALL, 43) + _right(c, 30) + d) & _ALL
    z = _pair(y, (a + _right((b + _K2) & _ALL, 18) + c) & _ALL, factor)
    e, f = _word(text, 16) * factor & _ALL, _word(text, 24)
    g, h = (y + _word(text, length - 32)) * factor & _ALL, (z + _word(text, length - 24)) * factor & _ALL
    return _pair(
        (_right((e + f) & _ALL, 43) + _right(g, 30) + h) & _ALL,
        (e + _right((f + a) & _ALL, 18) + g) & _ALL,
        factor,
    )


def _of_32(text: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    """32 bytes from `at` on, and two numbers, as two numbers."""
    w, x, y, z = (_word(text, at + 8 * n) for n in range(4))
    a = (a + w) & _ALL
    b = _right((b + a + z) & _ALL, 21)
    c = a
    a = (a + x + y) & _ALL
    b = (b + _right(a, 44)) & _ALL
    return (a + z) & _ALL, (b + c) & _ALL


def _longer(text: bytes) -> int:
    seed = 81
    x, y = seed, (seed * _K1 + 113) & _ALL
    z = _mixed((y * _K2 + 113) & _ALL) * _K2 & _ALL
    v, w = (0, 0), (0, 0)
    x = (x * _K2 + _word(text, 0)) & _ALL
    end = (len(text) - 1) // 64 * 64
    for at in range(0, end, 64):
        x = _right((x + y + v[0] + _word(text, at + 8)) & _ALL, 37) * _K1 & _ALL
        y = _right((y + v[1] + _word(text, at + 48)) & _ALL, 42) * _K1 & _ALL
        x ^= w[1]
        y = (y + v[0] + _word(text, at + 40)) & _ALL
        z = _right((z + w[0]) & _ALL, 33) * _K1 & _ALL
        v = _of_32(text, at, v[1] * _K1 & _ALL, (x + w[0]) & _ALL)
        w = _of_32(text, at + 32, (z + w[1]) & _ALL, (y + _word(text, at + 16)) & _ALL)
        z, x = x, z
    factor = (_K1 + ((z & 255) << 1)) & _ALL
    at = len(text) - 64
    w = ((w[0] + ((len(text) - 1) & 63)) & _ALL, w[1])
    v = ((v[0] + w[0]) & _ALL, v[1])
    w = ((w[0] + v[0]) & _ALL, w[1])
    x = _right((x + y + v[0] + _word(text, at + 8)) & _ALL, 37) * factor & _ALL
    y = _right((y + v[1] + _word(text, at + 48)) & _ALL, 42) * factor & _ALL
    x ^= w[1] * 9 & _ALL
    y = (y + v[0] * 9 + _word(text, at + 40)) & _ALL
    z = _right((z + w[0]) & _ALL, 33) * factor & _ALL
    v = _of_32(text, at, v[1] * factor & _ALL, (x + w[0]) & _ALL)
    w = _of_32(text, at + 32, (z + w[1]) & _ALL, (y + _word(text, at + 16)) & _ALL)
    z, x = x, z
    return _pair(
        (_pair(v[0], w[0], factor) + _mixed(y) * _K0 + z) & _ALL,
        (_pair(v[1], w[1], factor) + x) & _ALL,
        factor,
    )
