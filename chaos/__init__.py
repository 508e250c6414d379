"""The lab: what runs, breaks and judges the service. It sees the service only as an operator does."""
