"""A Sendspin client (sendspin-cpp) in five versions, as a model.

`versions` says in one table what they do differently; the rest is the same code for all.
"""
