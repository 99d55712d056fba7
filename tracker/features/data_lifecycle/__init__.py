"""How data ends: carts that nobody uses are pruned, a cart or a customer is erased, and before that given out.

What is gone must not come back from a journal, from the dead letters or from what still waits in a process. That is
the work of the flush (`carts.store`): it knows the carts that were erased by their `erased_stamp`, and those that
were pruned by the horizon. What this package does is to leave these two behind, before or with what it removes.
"""
