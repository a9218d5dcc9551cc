"""Real nodes: `torch.distributed` in place of simulated ones, and a hook for DistributedDataParallel."""
