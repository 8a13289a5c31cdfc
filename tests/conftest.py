"""What every test needs before anything is imported."""

import os

# OpenMP threads that spin while they wait make two torch processes on two cores ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
