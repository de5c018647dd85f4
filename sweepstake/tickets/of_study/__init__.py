"""A ticket out of a study's finished cell: which cell, its module, its weights drawn again."""
