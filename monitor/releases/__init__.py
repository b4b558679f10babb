"""Release sources, and the policy that says which of what they list is measured."""
