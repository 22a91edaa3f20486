"""The checks of the workshop's exercises."""
