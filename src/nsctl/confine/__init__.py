"""What confines a process: read as a value through its pidfd, and applied to another.

Reading disturbs nobody, but for the filters themselves (`confine.filters`), for which the kernel
asks that the process be stopped. What cannot be read or taken over is said in words, never passed
over.
"""
