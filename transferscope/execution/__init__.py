"""Who carries out the shards of a plan: this process (`local`), or workers of a cluster (`ray`).

An executor is handed a `RunState` and returns when nothing is left to try. It says where a shard is
worked on, and no more: what is missing, what is kept and what failed is the state's.
"""
