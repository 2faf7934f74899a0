"""The pipeline of one span, its runners, and the commands that start them."""
