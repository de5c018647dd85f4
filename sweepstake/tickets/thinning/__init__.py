"""The parts of thinning: which units are dead, what stands and falls with a unit, the cut, and the proof.

What stands and falls together is read from a library's dependency graph. Each library has a file of its own here, and
`structure.py` says what they all answer.
"""
