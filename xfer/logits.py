"""What does a net answer to images that it is not trained on?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfer.inputs import Inputs
from xfer.models.net import Net
from xfer.prefix import BATCH
from xfer.seen import to_images
from xfer.steps import Rows, batches


def predict_logits(
    net: Net, pixels: Any, rows: Rows, *, device: torch.device, inputs: Inputs | None = None
) -> Tensor:
    """Logits (images, classes) of rows of the pixels, on the CPU, in double precision.

    Double, so that the softmax of very sure answers does not round to a tie at 1. The net is put
    in inference mode and stays there.

    Args:
        net: on the device.
        pixels: `pixels[rows]` is a copy, uint8 (batch, height, width, channels).
        rows: (images,), at least one.
        device: of the net.
        inputs: what the suffix is given, as in training; None: the net sees the pixels.
    """
    net.eval()
    side = pixels[rows[:1]].shape[1]
    # 256 small images at a time; of large ones fewer, or a recipe whose batches fit into memory
    # could run out of it here: 4 million pixels are 83 images of 224 x 224.
    size = int(np.clip(2**22 // side**2, 32, 256))
    with torch.inference_mode():
        logits = [
            net(to_images(pixels[part], device))
            if inputs is None
            else net.suffix(inputs.unchanged(part))
            for part in batches(rows, size // BATCH * BATCH)
        ]
        return torch.cat(logits).cpu().double()
