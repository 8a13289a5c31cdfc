"""What a made cover must pass before anyone may see it: domain, fidelity, artifacts. Knows no service."""
