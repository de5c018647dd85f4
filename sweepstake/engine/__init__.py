"""Floor 3, doing: tensors. The only floor that knows how networks are trained; no disk, no screen.

Shapes: C cells, N parameters of a network (one flat vector), B images of a batch.
"""
