"""The journal: what was accepted stands in a file of its worker until PostgreSQL has it.

`frames` are the bytes, `journal` writes them, `recovery` replays what a dead worker left; beside this package,
`worker_folders` says whose is whose, and `last_stamp` keeps a worker's time from going back; `kit.files` is the file
system. None of them knows what is in a payload.
"""
