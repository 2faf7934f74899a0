"""The fidelity benchmark: does the memory stand in for the log?"""
