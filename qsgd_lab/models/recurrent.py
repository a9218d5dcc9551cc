"""A recurrent network that names a class at every place of a sequence.

References
----------
Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9(8), 1997.
"""

from __future__ import annotations

import torch
from torch import nn


class LSTMTagger(nn.Module):
    """Embedding, one LSTM layer, and a linear layer at every place.

    Parameters
    ----------
    num_classes : int
    num_symbols : int
    num_features : int
        Length of the vector of a symbol.
    num_units : int
        Of the LSTM. 16 symbols and 9 classes give 101 513 parameters.
    """

    def __init__(
        self, num_classes: int, num_symbols: int, num_features: int = 64, num_units: int = 128
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_symbols, num_features)
        self.lstm = nn.LSTM(num_features, num_units, batch_first=True)
        self.output = nn.Linear(num_units, num_classes)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        """Return the values of the classes.

        Parameters
        ----------
        symbols : int64 tensor, shape (m, places)

        Returns
        -------
        float32 tensor, shape (m, classes, places)
            As the cross-entropy takes it.
        """
        states, _ = self.lstm(self.embedding(symbols))
        values: torch.Tensor = self.output(states).transpose(1, 2)
        return values
