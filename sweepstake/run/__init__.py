"""Floor 4, machines and disk: where results live, who computes them, what is shown meanwhile."""
