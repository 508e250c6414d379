"""Where this process may connect to on behalf of a client, and how it stays there."""
