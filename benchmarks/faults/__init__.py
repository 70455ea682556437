"""Break what Dockside leans on, and measure what its callers notice."""
