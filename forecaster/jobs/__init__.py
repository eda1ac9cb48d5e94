"""The jobs that commands do: rooms joined, folders written whole or not at all."""
