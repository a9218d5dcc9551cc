"""A network of one's own: the digits back at 8x8, and one hidden layer; 25,994 parameters, milliseconds a step.

qsgd-lab compare --import examples/pooled_perceptron.py --problem digits --preset own --model pooled-perceptron \
  --method synchronous --method "local-sgd(rounds=36)"
"""

from torch import nn

from qsgd_lab.models import register_model


def pooled_perceptron(image_shape, num_classes, width=128):
    """Return pooling by 4 and one hidden layer, for images whose sides 4 divides."""
    channels, height, rows = image_shape
    inputs = channels * (height // 4) * (rows // 4)
    return nn.Sequential(
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, num_classes)
    )


register_model("pooled-perceptron", pooled_perceptron)
