"""Tables 1 to 5 of the paper: their rows, the sweep that trains them, and its report."""
