"""The same work done by Celery and RQ. Runs in `.venv-bench`: nothing here imports ``app``."""
