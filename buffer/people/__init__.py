"""For people: their SQL, figures, copies, labels, and what is known about the panel."""
