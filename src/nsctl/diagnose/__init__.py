"""What nsctl can do on this machine, what not, why, and what would help.

Everything is found by trying, in a helper process that leaves nothing behind. Why one certain
request was refused belongs here too.
"""
