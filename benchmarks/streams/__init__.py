"""Long streams: what distilling span by span costs, and how well the memory stands for the log after each."""
