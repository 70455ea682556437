"""How days and times look to people; Django looks here for the language in use."""
