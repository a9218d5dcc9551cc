"""Random crops and flips of whole batches, on the device of the images.

The placement of an image is a function of (seed, epoch, index of the image in its part): not of the batch it
comes in, of the number of nodes, or of the device.

References
----------
He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016, section 4.2 (4 pixels on each
side, a random 32x32 crop, a flip of every second image).
"""

from __future__ import annotations

import numpy as np
import torch

from qsgd_lab.stream import Purpose, generator

PADDING = 4

_LOW_32 = np.uint64(0xFFFFFFFF)


def draw_placements(num_images: int, seed: int, epoch: int, padding: int = PADDING) -> torch.Tensor:
    """Draw where each image of a part is cropped in one epoch, and whether it is flipped.

    Parameters
    ----------
    num_images : int
    seed : int
        0 to 2**64 - 1.
    epoch : int
        0 to 2**32 - 1.
    padding : int
        Pixels that an image can move to each side; 0 to 127.

    Returns
    -------
    uint8 tensor, shape (num_images, 3)
        For each image: the row and the column of the padded image at which its crop begins, each uniform on
        0..2 `padding`, and 1 if it is flipped (every second time on average), else 0.
    """
    # Raw words, because what NumPy makes of them may change between its versions; word i belongs to image i.
    words = np.atleast_1d(generator(seed, Purpose.AUGMENTATION, epoch).bit_generator.random_raw(num_images))
    side = 2 * padding + 1
    # Half a word times the number of corners, shifted back: uniform to within corners / 2**32.
    corner = ((words & _LOW_32) * np.uint64(side * side)) >> np.uint64(32)
    columns = [corner // np.uint64(side), corner % np.uint64(side), words >> np.uint64(63)]
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.uint8))


def crop_and_flip(images: torch.Tensor, placements: torch.Tensor, padding: int = PADDING) -> torch.Tensor:
    """Move each image by its placement; what comes in from outside is 0, black if the images are bytes.

    Parameters
    ----------
    images : tensor of any type, shape (m, channels, height, width)
    placements : uint8 tensor, shape (m, 3)
        From `draw_placements` with the same `padding`, on any device.

    Returns
    -------
    tensor
        Like `images`; pixels are copied, never computed.
    """
    height, width = images.shape[2:]
    row, column, flipped = placements.to(images.device, torch.int64).unsqueeze(-1).unbind(1)
    across = torch.arange(width, device=images.device)
    rows = row + torch.arange(height, device=images.device)
    columns = column + torch.where(flipped == 1, width - 1 - across, across)
    source = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    padded = torch.nn.functional.pad(images, (padding,) * 4).flatten(2)
    moved = padded.gather(2, source.flatten(1)[:, None].expand(-1, images.shape[1], -1))
    return moved.view(images.shape)
