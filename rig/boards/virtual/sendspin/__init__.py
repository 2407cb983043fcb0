"""A Sendspin client (sendspin-cpp, legacy generation) in four versions, as a model.

`versions` says in one table what the four do differently; the rest is the same code for all.
"""
