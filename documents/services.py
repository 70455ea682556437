"""Every change of a document."""
