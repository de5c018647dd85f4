"""Floor 5, tickets: masks on anybody's module, found, kept in a file, thinned, exported and measured.

A mask is a boolean tensor in a parameter's own shape, True where a weight is alive, under the parameter's own name.
"""
