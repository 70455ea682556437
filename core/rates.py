"""How a rate is written; apart from all else, since the settings need it before Django is up."""

# `600/minute`, `5/15minutes`
RATE = r"^[1-9][0-9]{0,8}/([1-9][0-9]{0,3})?(second|minute|hour|day)s?$"
EXAMPLE = "600/minute or 5/15minutes"
NOT_A_RATE = f"This is not a rate such as {EXAMPLE}."
