"""The experiment that decides between rungs: what each has earned, what it costs, and what may be said of it."""
