"""Commands that print the figures the project claims."""
