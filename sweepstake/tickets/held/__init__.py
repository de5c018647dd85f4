"""Masks on anybody's module, held through any training loop, reset and reported."""
