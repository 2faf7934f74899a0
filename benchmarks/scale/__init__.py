"""What the pipeline costs, component by component, as spans, slots and streams get longer."""
