"""How requests come in and answers go out: gunicorn's threads, made safe to face anybody."""
