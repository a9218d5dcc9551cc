"""
Would 4 bits pay on my link?
============================

Fewer bits are not less time. The link, the number of nodes and the time that quantizing takes decide.
"""

import matplotlib.pyplot as plt
import numpy as np

from qsgd_lab.report.analysis.communication import Exchange, Link, NodeWork, pays_between, speed_up
from qsgd_lab.report.tables.units import format_pays

# %%
# Put in your numbers: the parameters of the network, the seconds of forward and backward pass, and the
# seconds that quantizing and coding add. ``qsgd-lab bench`` measures the last on your machine.

num_parameters = 25_000_000
work = NodeWork(compute=0.120, quantize=0.020, code=0.015)

# %%
# fp32 gradients are summed in the network (all-reduce). Codes cannot be, so each node needs the message of
# every other one (all-gather), and their traffic grows with the number of nodes.

for nodes in (2, 4, 8, 16):
    codes = Exchange(nodes, num_parameters, code="message", bits_per_coordinate=4.0)
    smaller = codes.at_full_precision().moved_bytes / codes.moved_bytes
    print(f"{nodes:2} nodes: {smaller:.1f} times fewer bytes; pays {format_pays(pays_between(codes, work))}")

# %%
# The modelled speed-up of a whole step against the bandwidth of the link:

bandwidths = np.geomspace(1e8, 1e11, 61)  # bits a second
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for nodes in (2, 4, 8):
    codes = Exchange(nodes, num_parameters, code="message", bits_per_coordinate=4.0)
    gains = [speed_up(codes, work, Link(bandwidth / 8, latency=50e-6)) for bandwidth in bandwidths]
    axes.loglog(bandwidths, gains, label=f"N = {nodes}")
axes.axhline(1, color="grey", linewidth=0.8)
axes.set(xlabel="bandwidth (bit/s)", ylabel="modelled speed-up over fp32")
axes.legend()
plt.show()

# %%
# This is a model: a ring of nodes, nothing overlapped with computing. :doc:`/communication` has its
# formulas. From stored runs, with measured times and bits: ``qsgd-lab table --show traffic,network --link
# 1Gbit/s --latency 50us``.
