"""Which run comes next, and where it is carried out; what carrying out means is handed in."""
