"""The canvas: what was drawn arrives as numbers, and what is no drawing gets a clear message in both languages."""

import pytest

from demos import _draw
from demos._ui import InputError

EMPTY, FULL = "0" * 784, "f" * 784


@pytest.mark.parametrize("digit", "0123456789")
def test_the_samples_are_drawings(digit: str) -> None:
    shades = _draw.pixels(_draw.sample(digit), "digit")
    assert len(shades) == 784
    assert (min(shades), max(shades)) == (0.0, 1.0)
    assert 0.05 < sum(shades) / 784 < 0.25


def test_a_pixel_keeps_its_place() -> None:
    value = "0" * 28 * 3 + "00f" + "0" * (784 - 28 * 3 - 3)
    assert [place for place, shade in enumerate(_draw.pixels(value, "digit")) if shade] == [3 * 28 + 2]


@pytest.mark.parametrize(
    ("value", "zh", "en"),
    [
        (EMPTY, "空白的图", "an empty picture"),
        (FULL, "涂了 100%", "got 100%"),
        ("0" * 64, "收到的是 64", "28×28 pixels, 784 hexadecimal digits, got 64"),
        ("g" * 784, "十六进制数字", "hexadecimal digits"),
        (["0" * 784], "十六进制数字", "hexadecimal digits"),
        (None, "收到的是 None", "got None"),
    ],
)
def test_what_is_no_drawing_is_refused(value: object, zh: str, en: str) -> None:
    with pytest.raises(InputError) as refused:
        _draw.pixels(value, {"zh": "数字", "en": "Digit"})
    assert zh in refused.value.zh
    assert en in refused.value.en
