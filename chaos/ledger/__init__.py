"""What was asked of the service, what was answered, and whether what is there now agrees with both.

Knows the service by its HTTP API and its tables only; of the lab it knows verdicts and errors.
"""
