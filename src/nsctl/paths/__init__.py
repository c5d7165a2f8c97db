"""The same file elsewhere: host paths of a container's files, layers, storage."""
