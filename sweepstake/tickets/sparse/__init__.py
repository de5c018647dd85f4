"""What remains of a pruned network, dense or sparse, layer by layer, by what was measured on this machine."""
