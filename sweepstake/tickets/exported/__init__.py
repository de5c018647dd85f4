"""A module in a file that other programs run, compared before it is called done."""
