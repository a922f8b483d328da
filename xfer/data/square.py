"""How does an image of any shape become a square?

In one of three ways, all with Pillow's antialiased filters:

* `squash` scales both sides to `size`.
* `pad` scales the longer side to `size` and the other by the same factor, to the nearest whole
  number of pixels (halves up, at least 1), and centres that on black. Of an odd number of empty
  lines the larger half is below, or on the right.
* `crop` scales the square that is as wide as the shorter side and has the image's centre, to the
  half pixel. At the square's borders the filter sees what lies beyond them.
"""

from __future__ import annotations

from PIL import Image

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def _squash(image: Image.Image, size: int, kernel: Image.Resampling) -> Image.Image:
    return image.resize((size, size), kernel)


def _pad(image: Image.Image, size: int, kernel: Image.Resampling) -> Image.Image:
    longer = max(image.size)
    width, height = (max(1, (2 * side * size + longer) // (2 * longer)) for side in image.size)
    square = Image.new(image.mode, (size, size))  # black
    square.paste(image.resize((width, height), kernel), ((size - width) // 2, (size - height) // 2))
    return square


def _crop(image: Image.Image, size: int, kernel: Image.Resampling) -> Image.Image:
    side = min(image.size)
    # Pillow's boxes are 32-bit floats, which have no halves from 2**23 on: what lies too far away
    # for any filter to see goes first, as much at either end.
    far_x, far_y = (max(0, (whole - 5 * side) // 2 - 2) for whole in image.size)
    if far_x or far_y:
        image = image.crop((far_x, far_y, image.width - far_x, image.height - far_y))
    left, top = ((whole - side) / 2 for whole in image.size)
    return image.resize((size, size), kernel, box=(left, top, left + side, top + side))


FITS = {"squash": _squash, "pad": _pad, "crop": _crop}


def to_square(image: Image.Image, *, size: int, fit: str, interpolation: str) -> Image.Image:
    """The image as `size` x `size` pixels of the same mode.

    Args:
        image: of mode L, RGB or F. In mode F a bicubic filter may overshoot the image's range.
        size: side of the result, in pixels.
        fit: one of `FITS`.
        interpolation: one of `FILTERS`.
    """
    return FITS[fit](image, size, FILTERS[interpolation])
