"""Days before months and 24 hours, as at the quay; an instant names its zone."""

DATE_FORMAT = "D j M Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = "D j M Y H:i T"
