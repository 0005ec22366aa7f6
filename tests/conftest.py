"""Put tests/ itself on the path, for the helpers the test files share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
