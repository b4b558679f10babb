"""Check definitions, their digest and the weights they serve."""
