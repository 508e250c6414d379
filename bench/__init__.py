"""The benchmarks: this service against what one would use instead, on the same machine and servers.

``python -m bench`` (``make bench``). A user of ``app``, never imported by it.
"""
