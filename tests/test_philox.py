import numpy as np
import pytest

from randrop.losses.philox import philox4x32, uniforms

# The published known answers of Philox4x32-10: counter, key, output.
KNOWN = [
    ("00000000" * 4, "00000000" * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff" * 4, "ffffffff" * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a8885a308d313198a2e03707344",
        "a4093822299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text):
    text = text.replace(" ", "")
    return [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    assert philox4x32(words(counter), words(key)).tolist() == words(answer)


def test_element_order_is_the_documented_one():
    seed, iteration = 0x123456789ABCDEF0, 0x1_0000_0002
    u = uniforms(seed, iteration, 200)
    for i in (0, 1, 15, 16, 63, 64, 130, 199):
        counter = [16 * (i // 64) + i % 16, 0, 2, 1]
        word = philox4x32(counter, [0x9ABCDEF0, 0x12345678])[i % 64 // 16]
        assert u[i] == (int(word) >> 8) * 2.0**-24


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65])
def test_a_shorter_blob_has_the_same_numbers(count):
    np.testing.assert_array_equal(uniforms(1, 2, count), uniforms(1, 2, 1000)[:count])


def test_uniforms_are_uniform_and_independent():
    u = uniforms(11, 0, 200_000)
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, 50, (0, 1))[0]
    chi_square = ((counts - 4000) ** 2 / 4000).sum()
    assert chi_square < 85.4  # 0.1 % point at 49 degrees of freedom
    for other in (uniforms(12, 0, 200_000), uniforms(11, 1, 200_000), np.roll(u, 1)):
        assert abs(np.corrcoef(u, other)[0, 1]) < 0.01
