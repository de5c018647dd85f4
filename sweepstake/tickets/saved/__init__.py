"""A ticket in one sealed file, and back."""
