"""
Your first comparison
=====================

Train one network with and without compression, and read the table.
"""

import subprocess
import sys
import tempfile

# %%
# ``qsgd-lab reproduce`` plans a comparison, trains what is missing and prints the table. This one is small
# enough for a page: one epoch, two nodes, two seeds, 4 bits and 1 bit against fp32.

runs = tempfile.mkdtemp()
command = "reproduce --model alexnet --nodes 2 --bits 4,1 --seeds 0..1 --epochs 1"


def lab(arguments):
    """Run a command of the lab and return what it prints."""
    words = [sys.executable, "-m", "qsgd_lab", *arguments.split(), "--runs", runs]
    return subprocess.run(words, capture_output=True, text=True, check=True, encoding="utf-8").stdout


print(lab(command))

# %%
# Without ``--epochs``, ``--bits`` and ``--seeds`` the preset decides, and ``qsgd-lab reproduce --model
# alexnet --nodes 1,2,4,8`` trains 140 runs in a few minutes. Nothing is tested here: two seeds are too few,
# and the legend says so.
#
# The runs are stored in the folder. The same command prints the same table again without training, and a
# sweep that was stopped goes on.

again = lab(command)
table = lab("table --format csv")
assert table.count("\n") == 4  # a heading and three methods
assert "4 bit, stochastic + EF" in again

# %%
# Other views of the same runs: ``qsgd-lab report`` writes one page to look at in a browser, ``qsgd-lab
# plot`` figures, ``qsgd-lab table > results.tex`` LaTeX, ``qsgd-lab runs export`` a row a run for pandas or
# R.
