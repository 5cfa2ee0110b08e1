"""What runs inside a sandbox, and the process that forks it. Never imported by the host."""
