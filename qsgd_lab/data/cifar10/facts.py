"""Facts about a copy of CIFAR-10, as figures that can be compared between machines.

Mean and deviation of each colour channel, exactly summed.
"""

from __future__ import annotations

from typing import Any

from qsgd_lab.data.cifar10.find import Source
from qsgd_lab.data.cifar10.read import read_cifar10
from qsgd_lab.data.cifar10.split import train_validation_split
from qsgd_lab.data.normalisation import channel_statistics
from qsgd_lab.data.split import split_sha256


def describe_cifar10(source: Source) -> dict[str, Any]:
    """Read a copy whole, check it, and return its facts as JSON-ready values.

    Raises
    ------
    DataMissingError, IntegrityError
        As `read_cifar10` does.
    """
    arrays = read_cifar10(source)
    train, validation = train_validation_split(arrays.train_labels)
    mean, std = channel_statistics(arrays.train_images[train])
    return {
        "path": str(source.path),
        "form": source.form,
        "training_images": len(train),
        "validation_images": len(validation),
        "test_images": len(arrays.test_labels),
        "arrays_sha256": arrays.sha256,
        "split_sha256": split_sha256((train, validation)),
        "channel_means": [round(value, 6) for value in mean],
        "channel_deviations": [round(value, 6) for value in std],
    }
