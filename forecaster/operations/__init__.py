"""What a night shift decides by: what may come in, what may go out, when to train again, and who is to serve."""
