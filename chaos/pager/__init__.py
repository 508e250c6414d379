"""The receiver of every alert: stores each notification with its arrival time and serves them."""
