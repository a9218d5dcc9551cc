"""
Read the tables
===============

What a mark in a table claims, and how to see the numbers behind it.
"""

import json
import pathlib

import qsgd_lab as ql
from qsgd_lab.report import render
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.store import RunStore

# %%
# The runs behind the README are in the repository: 7 methods, 4 numbers of nodes, 5 seeds.

here = pathlib.Path.cwd()
root = next(folder for folder in (here, *here.parents) if (folder / "paper" / "runs.jsonl").exists())
records = list(RunStore(root / "paper" / "runs.jsonl").records())
print(render(records, "text", TableOptions(show=("accuracy", "difference"), width=100)))

# %%
# Read it in this order:
#
# * **No mark** in a cell is not a finding. It does not say that the method is as good as fp32: five seeds
#   could not tell.
# * **±** after an accuracy is the deviation between seeds. After a difference it is half of a 95 %
#   interval; all intervals hold together.
# * **↓ or ↑**: shown to be worse or better than fp32. **≈**: shown to be within the margin of it.
# * **div., †**: runs diverged. They are counted, and no test of accuracy includes them.
#
# Averaging over the numbers of nodes gives more pairs, and there the bias of nearest rounding shows: 2 bit,
# nearest has ↓. JSON has every number unrounded, with the p-values:

document = json.loads(render(records, "json"))
nearest = next(m for m in document["tables"][0]["methods"] if m["method"] == "2 bit, nearest")
print(nearest["mean_over_nodes_points_above_fp32"], nearest["mean_over_nodes_p_different_holm"])
assert nearest["mean_over_nodes_claim"] == "worse"

# %%
# For your own statistics, ``load_runs`` gives the runs as columns, which ``pandas.DataFrame`` or
# ``polars.DataFrame`` take at once.

columns = ql.load_runs(root / "paper" / "runs.jsonl")
rows = zip(columns["method"], columns["nodes"], columns["seed"], columns["test_accuracy_share"], strict=True)
for method, nodes, seed, accuracy in list(rows)[:3]:
    print(method, nodes, seed, accuracy)

# %%
# :doc:`/tables` explains the tests.
