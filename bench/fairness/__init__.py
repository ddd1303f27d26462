"""The fairness experiments as a page of the documentation, and what the fair queue itself costs."""
