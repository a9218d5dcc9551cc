"""The commands of ``qsgd-lab suite``: the pinned benchmark."""
