"""One observation at a time, with the state of every series kept across restarts."""
