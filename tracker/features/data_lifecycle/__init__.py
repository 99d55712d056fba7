"""The end of data: carts that nobody uses are pruned; a cart or a customer is erased, and can be exported before that.

Data that is gone must not come back from a journal, from the dead letters or from items that still wait in a process.
The flush (`carts.store`) sees to that: it knows the carts that were erased by their `erased_stamp`, and those that
were pruned by the horizon. This package sets these two, before or together with the removal.

It knows the order of things: windows, locks, chains of carts, and what is committed together. It does not know what a
feature stores: each feature hands in its `FeatureData`.
"""
