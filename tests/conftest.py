"""What every test needs before TensorFlow is imported."""

from __future__ import annotations

import os

# TensorFlow reads these once, when it is first imported; pytest imports this file before any test.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Tests run in two processes on few cores: more threads than that in each only get in each other's way.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
