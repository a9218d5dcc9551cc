"""
Two lines in your own training
==============================

Compress the gradients of your own training, on as many processes as you like.
"""

import pathlib
import subprocess
import sys

# %%
# The hook replaces the all-reduce of ``DistributedDataParallel``. Gradients are sent as real messages, with
# error feedback, and every rank gets the same mean to the bit. Two lines are needed:
#
# .. code-block:: python
#
#    from qsgd_lab.distributed.hook import QSGDHook
#
#    hook = QSGDHook(bits=2).register(ddp)  # ddp: your DistributedDataParallel
#
# A whole program is in ``examples/ddp_hook.py``:

examples = pathlib.Path.cwd()
if not (examples / "ddp_hook.py").exists():  # the notebook may be anywhere
    examples = examples.parent / "examples"
program = examples / "ddp_hook.py"
print(program.read_text(encoding="utf-8").split('"""', 2)[2].strip())

# %%
# ``torchrun`` starts it in two processes:

words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(program)]
done = subprocess.run(words, capture_output=True, text=True, check=True, encoding="utf-8")
print(done.stdout)
assert "test accuracy" in done.stdout

# %%
# ``hook.statistics()`` counts bytes exactly, and ``hook.check()`` raises what went wrong inside the hook.
# :doc:`/distributed` has the options, and what holds on several machines.
