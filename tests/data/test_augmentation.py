"""Random crops and flips: which they are, how they are spread, and that their key alone decides them."""

from __future__ import annotations

import naive_images
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from qsgd_lab.data.augmentation import PADDING, crop_and_flip, draw_placements

IMAGES = torch.from_numpy(np.random.Generator(np.random.Philox(3)).integers(0, 256, (6, 3, 32, 32), np.uint8))


@settings(max_examples=30)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
    ),
    st.integers(0, 3),
    st.integers(0, 2**64 - 1),
)
def test_moving_is_padding_cutting_and_mirroring(images, padding, seed):
    """A batch moved at once equals each image moved pixel by pixel, at any size and padding."""
    placements = draw_placements(len(images), seed, 0, padding)
    expected = [
        naive_images.crop_and_flip(image, int(row), int(column), bool(flip), padding)
        for image, (row, column, flip) in zip(images, placements, strict=True)
    ]
    np.testing.assert_array_equal(crop_and_flip(torch.from_numpy(images), placements, padding), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_the_middle_unflipped_is_the_image(dtype):
    """Cropped in the middle and not flipped, an image of any type stays as it is; flipped twice too."""
    images = IMAGES.to(dtype)
    still = torch.tensor([[PADDING, PADDING, 0]] * 6, dtype=torch.uint8)
    mirrored = torch.tensor([[PADDING, PADDING, 1]] * 6, dtype=torch.uint8)
    assert torch.equal(crop_and_flip(images, still), images)
    assert torch.equal(crop_and_flip(images, mirrored), images.flip(3))
    assert crop_and_flip(images, still).dtype == dtype


def test_the_corners_bring_in_zeros():
    """At the far corners four rows and columns of zeros come in, on the side named."""
    top_left = crop_and_flip(IMAGES, torch.tensor([[0, 0, 0]] * 6, dtype=torch.uint8))
    bottom_right = crop_and_flip(IMAGES, torch.tensor([[8, 8, 0]] * 6, dtype=torch.uint8))
    assert torch.equal(top_left[..., 4:, 4:], IMAGES[..., :-4, :-4])
    assert torch.equal(bottom_right[..., :-4, :-4], IMAGES[..., 4:, 4:])
    assert not top_left[..., :4, :].any()
    assert not bottom_right[..., -4:].any()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(0, 50))
def test_a_placement_depends_on_seed_epoch_and_index_alone(seed, epoch, first, more):
    """Image i is placed the same however many images are placed with it."""
    few, many = draw_placements(first, seed, epoch), draw_placements(first + more, seed, epoch)
    assert few.shape == (first, 3)
    assert torch.equal(few, many[:first])


def test_a_batch_is_moved_as_its_images_are():
    """Any choice of images in any order, as any node may get, is moved as the whole part is."""
    placements, whole = draw_placements(6, 1, 2), torch.tensor([4, 0, 5, 5])
    moved = crop_and_flip(IMAGES, placements)
    assert torch.equal(crop_and_flip(IMAGES[whole], placements[whole]), moved[whole])


def test_seeds_and_epochs_place_differently():
    """Another seed or epoch places nearly every image again."""
    placements = draw_placements(1000, 0, 0)
    for other in (
        draw_placements(1000, 1, 0),
        draw_placements(1000, 0, 1),
        draw_placements(1000, 1 << 63, 0),
    ):
        assert (placements == other).all(1).float().mean() < 0.03


def test_placements_never_change():
    """The first placements of (seed 0, epoch 0) are pinned: other ones would change every result."""
    assert draw_placements(4, 0, 0).tolist() == [[2, 7, 1], [6, 6, 1], [3, 2, 1], [0, 3, 1]]


def test_placements_are_uniform():
    """All 81 corners, and flips, come equally often and independently (chi-squared, at the 0.1 % level)."""
    row, column, flip = draw_placements(100_000, 5, 0).long().unbind(1)
    counts = torch.bincount(row * 18 + column * 2 + flip, minlength=162)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_epochs_are_independent():
    """Placements of one image in successive epochs are uniform over pairs of rows, and of flips."""
    epochs = torch.stack([draw_placements(40, 9, epoch) for epoch in range(500)]).long()
    row_pairs = torch.bincount((epochs[:-1, :, 0] * 9 + epochs[1:, :, 0]).ravel()[::2], minlength=81)
    flip_pairs = torch.bincount((epochs[:-1, :, 2] * 2 + epochs[1:, :, 2]).ravel()[::2], minlength=4)
    assert stats.chisquare(row_pairs.numpy()).pvalue > 1e-3
    assert stats.chisquare(flip_pairs.numpy()).pvalue > 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree():
    """On a GPU the same bits come out."""
    placements = draw_placements(6, 1, 2)
    assert torch.equal(crop_and_flip(IMAGES.cuda(), placements).cpu(), crop_and_flip(IMAGES, placements))
